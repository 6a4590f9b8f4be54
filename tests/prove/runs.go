package main

import "slices"

// stores are the surroundings that most scenarios run in.
var stores = []string{"ATOMIC=1 ENDER=1", "ATOMIC=1 ENDER=0", "ATOMIC=0 ENDER=1", "ATOMIC=0 ENDER=0"}

// extra is what a scenario needs besides.
var extra = map[string]string{
	"most":                " MAX=1",
	"minutes":             " TICKS=7",
	"minutes_regenerated": " TICKS=7",
	"minutes_user":        " TICKS=7",
	"idle":                " TICKS=4 IDLE=2",
	"idle_regenerated":    " TICKS=4 IDLE=2",
}

// proofs returns the runs in which nothing may be found.
func proofs(scenarios map[string]int, quick bool) (runs []run) {
	names := make([]string, 0, len(scenarios))
	for name := range scenarios {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return scenarios[a] - scenarios[b] })
	faults := " FAULTS=3 TRIES=3"
	if quick {
		faults = " FAULTS=1"
	}
	for _, name := range names {
		for _, store := range stores {
			runs = append(runs, run{scenario: name, options: store + faults + extra[name]})
		}
		runs = append(runs, run{checker: cycles, scenario: name, options: stores[0] + " FAULTS=1" + extra[name]})
	}
	runs = append(runs,
		run{scenario: "changes", options: stores[0] + faults + " FORGET=1"},
		run{scenario: "changes", options: stores[0] + " FAULTS=1 TOLD=1"},
		run{scenario: "touches", options: stores[1] + " FAULTS=1 TOLD=1"},
		run{checker: arrival, scenario: "endingArrives"},
		run{checker: arrival, scenario: "followingArrives"},
	)
	return runs
}

// claim is a property: what it says, and a part of what the checker prints where it is violated.
type claim struct{ text, printed string }

var (
	endedID        = claim{"nothing that ended opens again", "!((ended&"}
	endedSession   = claim{"no session whose end was acknowledged opens again", "!((endedFam&"}
	endNow         = claim{"an acknowledged end leaves no ID of the session live", "(((1<<fam["}
	twice          = claim{"a made change is made once", "&170)==0"}
	kept           = claim{"an acknowledged change is in every later state", "&acked[fam["}
	twoLive        = claim{"never two live IDs of one session, and old ends before new begins", "(k==id"}
	tombstoneStays = claim{"a tombstone stays", "!=2)||"}
	refused        = claim{"what was made is not refused as late", "sentTwice"}
	expired        = claim{"what has run out is not used", "(idle==0)"}
	unknown        = claim{"a record that forgot nothing tells what was made", "(verdict!=0)"}
	pushedOff      = claim{"a late request gives its browser no other cookie", "(begins)"}
	cookieDeleted  = claim{"a late logout does not delete what a Login gave", "(deletes)"}
	cookieKept     = claim{"a logout that ended the session deletes its cookie", "(loaded)"}
	exceptedEnded  = claim{"RevokeUser leaves what is excepted", "(except==0)"}
	wrongCount     = claim{"as many sessions are left as there may be", "live==most"}
	uncovered      = claim{"after RevokeUser nothing that it covers opens", "(covered&"}
	endless        = claim{"every operation ends", "non-progress cycle"}
	neverArrives   = claim{"an ending arrives", "acceptance cycle"}
)

// mutants are the rules of the model, each left out where that shows.
var mutants = []run{
	{mutant: "SWAP_COMPARES_NOTHING", scenario: "changes", says: kept},
	{mutant: "REPLAYS_ON_WHAT_WAS_LOADED", scenario: "changes", says: kept},
	{mutant: "NO_DOUBT", scenario: "changes", says: twice},
	{mutant: "NO_DOUBT", scenario: "together", says: twice},
	{mutant: "JUDGE_REPLAYS_WHAT_IS_UNKNOWN", scenario: "changes", options: "FORGET=1", says: twice, trace: 3},
	{mutant: "STORES_RESENDING_IS_FORGOTTEN", scenario: "changes", says: twice},
	{mutant: "RECORD_FORGETS_ITS_REVISIONS", scenario: "changes", options: "TOLD=1", says: unknown},
	{mutant: "TOUCH_WRITES_OVER", scenario: "touches", says: kept},
	{mutant: "TAKES_OVER_A_TOMBSTONE", scenario: "regenerates", says: kept},
	{mutant: "NEW_ID_FROM_WHAT_WAS_LOADED", scenario: "regenerates", says: kept},
	{mutant: "LOST_RECORD_IS_THE_LOADED", scenario: "regenerates", says: kept},
	{mutant: "ENDING_DOES_NOT_FOLLOW", scenario: "logouts", says: endNow, trace: 8},
	{mutant: "NO_SUCCESSOR", scenario: "logouts", says: endNow},
	{mutant: "END_NEEDS_A_RECORD", scenario: "revoked_regenerated", says: endedSession},
	{mutant: "END_REPLACES_A_TOMBSTONE", scenario: "logouts", says: tombstoneStays},
	{mutant: "LOGOUT_WITH_NEW_REVISIONS", scenario: "touches", says: cookieKept},
	{mutant: "OWN_TOMBSTONE_IS_ANOTHERS", scenario: "touches", says: cookieKept},
	{mutant: "JUDGE_TAKES_AN_END_FOR_NOT_MADE", scenario: "touches", says: refused, trace: 11},
	{mutant: "TOMBSTONE_FORGETS_REVISIONS", scenario: "touches", options: "ENDER=0 TOLD=1", says: unknown, trace: 11},
	{mutant: "NEW_BEFORE_OLD", scenario: "logins", options: "ATOMIC=0", says: twoLive},
	{mutant: "LOGIN_DOES_NOT_FOLLOW", scenario: "logins", says: twoLive},
	{mutant: "LOGOUT_ALWAYS_DELETES_THE_COOKIE", scenario: "in_out", says: cookieDeleted, trace: 8},
	{mutant: "REVOKED_IS_NOT_TAKEN_OVER", scenario: "revoked", says: pushedOff, trace: 7},
	{mutant: "LOGOUT_OF_A_REVOKED_DOES_NOT_LOOK", scenario: "revoked_out", says: cookieDeleted, trace: 8},
	{mutant: "OWN_END_IS_NO_END", scenario: "user", says: endedID, trace: 9},
	{mutant: "EXCEPTED_WITHOUT_SUCCESSORS", scenario: "except", options: "ATOMIC=0", says: exceptedEnded, trace: 10},
	{mutant: "EXCEPTED_ARE_LOADED_BEFORE_THE_LIST", scenario: "except", options: "ATOMIC=0", says: exceptedEnded, trace: 10},
	{mutant: "SPARED_ARE_FOLLOWED", scenario: "except_given_out", says: exceptedEnded, trace: 10},
	{mutant: "INDEX_IS_PRUNED", scenario: "index", options: "ATOMIC=0", says: uncovered, trace: 6},
	{mutant: "INDEX_AFTER_THE_RECORD", scenario: "index", options: "ATOMIC=0", says: uncovered},
	{mutant: "LOGOUT_FORGETS_DOUBT", scenario: "regret", says: claim{endNow.text, "(1<<fam[me])"}},
	{mutant: "NO_EVICTION", scenario: "most", options: "MAX=1", says: wrongCount},
	{mutant: "EACH_EVICTS_THE_OTHERS", scenario: "most", options: "MAX=1", says: wrongCount},
	{mutant: "RESENT_AT_ANY_TIME", scenario: "minutes", options: "TICKS=7", says: endedID, trace: 4},
	{mutant: "EXPIRED_IS_WRITTEN", scenario: "idle", options: "TICKS=4 IDLE=2", says: expired, trace: 5},
	{mutant: "USER_TIME_IS_NOT_BOUNDED", scenario: "minutes_user", options: "TICKS=7", says: uncovered},
	{mutant: "USER_TIME_IS_NOT_BOUNDED", scenario: "minutes_regenerated", options: "TICKS=7", says: endNow},
	{checker: cycles, mutant: "UNKNOWN_IS_ASKED_FOR_EVER", scenario: "touches", says: endless},
	{checker: arrival, mutant: "an ending compares", scenario: "endingArrives", says: neverArrives, trace: 2},
	{checker: arrival, mutant: "no gap between two Regenerates", scenario: "followingArrives", says: neverArrives},
}

// endingMutants are those of endings.pml.
var endingMutants = map[string]int{"an ending compares": 1, "no gap between two Regenerates": 2}
