/*
 * The protocol of the package, for spin: records under compare-and-swap, tombstones, a log that is replayed. Each part names
 * the Go function that it stands for. main.go says which scenarios run, in which surroundings, and which mutants.
 *
 * A scenario is a few operations on a store, in all orders of their calls. It is chosen when the checker is run, by the
 * environment, so that the checker is compiled once:
 *
 *   SCENARIO which operations run: see init, at the end
 *   MUTANT   the rule that is left out, or 0
 *   ATOMIC   1: two swaps are made all or none; 0: one by one, in their order, and the index of a user first
 *   ENDER    1: the store has End; 0: the Manager ends by Swap, again and again
 *   FAULTS   how many calls of the store go wrong
 *   TICKS    how often a quarter of a minute passes
 *   FORGET   1: a record may forget its latest revisions at any write (they are older than 30 s, or pushed out); then no client of
 *            the store sends anything twice by itself, since its own time is far shorter
 *   TOLD     1: no record forgets anything here, so that no resent change may end as unknown
 *   TRIES    how often a request commits, the first time included
 *   MAX      MaxPerUser, or 0
 *   IDLE     the idle limit in ticks, or 0
 *
 * A process that dies is one that is not scheduled any more: the properties are looked at after every prefix.
 */

c_decl {
	extern char *getenv(const char *);
	extern int atoi(const char *);
	static int env(const char *name) { const char *s = getenv(name); return s ? atoi(s) : 0; }
};

byte scenario, mutant, faults, ticks;
bit atomic_, ender, forget, told; /* told: here the latest revisions always tell, and nothing may end as unknown */
byte tries_, most, idle, allowed;

/* The rules that a mutant leaves out. */
#define M(m) (mutant == m)
#define SWAP_COMPARES_NOTHING 1
#define REPLAYS_ON_WHAT_WAS_LOADED 2
#define NO_DOUBT 3
#define JUDGE_REPLAYS_WHAT_IS_UNKNOWN 4
#define STORES_RESENDING_IS_FORGOTTEN 5
#define RECORD_FORGETS_ITS_REVISIONS 6
#define TOUCH_WRITES_OVER 7
#define TAKES_OVER_A_TOMBSTONE 8
#define NEW_ID_FROM_WHAT_WAS_LOADED 9
#define LOST_RECORD_IS_THE_LOADED 10
#define ENDING_DOES_NOT_FOLLOW 11
#define NO_SUCCESSOR 12
#define END_NEEDS_A_RECORD 13
#define END_REPLACES_A_TOMBSTONE 14
#define LOGOUT_WITH_NEW_REVISIONS 15
#define JUDGE_TAKES_AN_END_FOR_NOT_MADE 16
#define NEW_BEFORE_OLD 17
#define LOGOUT_ALWAYS_DELETES_THE_COOKIE 18
#define REVOKED_IS_NOT_TAKEN_OVER 19
#define LOGOUT_OF_A_REVOKED_DOES_NOT_LOOK 20
#define OWN_END_IS_NO_END 21
#define EXCEPTED_WITHOUT_SUCCESSORS 22
#define EXCEPTED_ARE_LOADED_BEFORE_THE_LIST 23
#define SPARED_ARE_FOLLOWED 24
#define INDEX_IS_PRUNED 25
#define LOGOUT_FORGETS_DOUBT 26
#define NO_EVICTION 27
#define EACH_EVICTS_THE_OTHERS 28
#define RESENT_AT_ANY_TIME 29
#define EXPIRED_IS_WRITTEN 30
#define TOMBSTONE_FORGETS_REVISIONS 31
#define INDEX_AFTER_THE_RECORD 32
#define LOGIN_DOES_NOT_FOLLOW 33
#define OWN_TOMBSTONE_IS_ANOTHERS 34
#define USER_TIME_IS_NOT_BOUNDED 35
#define UNKNOWN_IS_ASKED_FOR_EVER 36

/* Session IDs: 1 to 4 are the new ones of the operations 1 to 4, 5 is the session at the start. */
#define NOBODY 0
#define S 5
#define IDS 6

/* A record (record.go: Record) in two numbers. Its latest revisions are its own and two before it, where the code has 32. The
 * values count in two bits for each operation how often its change was made. */
typedef Rec {
	int a; /* the revision, 0 for nothing stored; the one before; the one before that */
	int b; /* state, revoked, successor, last use or when a tombstone was put, values */
};
#define ABSENT 0
#define LIVE 1
#define TOMB 2
#define REV(r) (r.a & 255)
#define ST(r) (r.b & 3)
#define REVOKED(r) ((r.b >> 2) & 1)
#define SUCC(r) ((r.b >> 3) & 15)
#define USED(r) ((r.b >> 7) & 15)
#define VALS(r) ((r.b >> 11) & 255)
#define MADE(st, rv, succ, used, vals) ((st) | ((rv) << 2) | ((succ) << 3) | ((used) << 7) | ((vals) << 11))
#define copy(x, y) y.a = x.a; y.b = x.b
#define clear(x) x.a = 0; x.b = 0

#define knows(r, v) (REV(r) == (v) || ((r.a >> 8) & 255) == (v) || ((r.a >> 16) & 255) == (v)) /* Record.knows */
#define once(p) (1 << (2 * ((p) - 1)))

/* Record.condition. A tombstone's minute is four ticks. */
#define LIFE 4
#define isOver(r) (ST(r) == LIVE && idle > 0 && clock >= USED(r) + idle)
#define isGone(r) (ST(r) == ABSENT || (ST(r) == TOMB && clock >= USED(r) + LIFE))
#define isLive(r) (ST(r) == LIVE && !isOver(r))
#define isRevoked(r) (ST(r) == TOMB && !isGone(r) && REVOKED(r) && SUCC(r) == NOBODY)
#define isLate(r) (ST(r) == TOMB && !isGone(r) && !(REVOKED(r) && SUCC(r) == NOBODY))

Rec reg[IDS];        /* what is stored */
byte idx;            /* the user's index: a bit for each ID */
byte clock;
byte alive;          /* a bit for each operation that has not ended */
Rec shared;          /* what two requests in doubt have sent together */

/* What the properties are about. No operation goes by it. */
byte fam[IDS];       /* the session that an ID is of: Regenerate keeps it */
byte from[IDS];      /* the session that a Login takes over from */
byte gave[IDS];      /* what the browser with this cookie was given in its place */
byte endedBy[IDS];   /* whose tombstone it is */
byte acked[IDS];     /* of each session, the changes that were acknowledged */
byte made;           /* the changes that any record has had */
byte anonymous;      /* IDs of nobody's sessions */
byte ended, endedFam; /* IDs that had a tombstone; sessions whose end was acknowledged */
bit sentTwice;       /* the client of the store has sent something twice */
hidden byte k;

/* ------------------------------------------------------------------------------------------------ the properties ---- */

/* What is written is looked at before. */
inline check(id, R, by) {
	if
	:: ST(R) == LIVE ->
		assert(!(ended & (1 << id)));              /* nothing ended opens again: no ID that had a tombstone */
		assert(!(endedFam & (1 << fam[id])));      /* nor a session whose end was acknowledged */
		assert((VALS(R) & 170) == 0);              /* a made change is made once */
		assert((VALS(R) & acked[fam[id]]) == acked[fam[id]]); /* an acknowledged change is in every later state */
		k = 1;
		do
		:: k < IDS ->
			assert(k == id || !isLive(reg[k]) || fam[k] != fam[id]);  /* never two live IDs of one session */
			assert(k == id || !isLive(reg[k]) || fam[k] != from[id]); /* a Login ends the old session first */
			k++
		:: else -> break
		od;
		assert(idle == 0 || ST(reg[id]) != LIVE || USED(R) < USED(reg[id]) + idle); /* what has run out is not used */
		made = made | VALS(R)
	:: ST(R) == TOMB ->
		assert(ST(reg[id]) != TOMB || isGone(reg[id]) || (REVOKED(reg[id]) && !REVOKED(R))); /* a tombstone stays */
		ended = ended | (1 << id);
		endedBy[id] = by
	fi
}

/* An end was acknowledged: of these sessions no ID is live, now or later. */
inline acknowledgeEnd(fams) {
	k = 1;
	do
	:: k < IDS -> assert(!((fams) & (1 << fam[k])) || !isLive(reg[k])); k++
	:: else -> break
	od;
	endedFam = endedFam | (fams)
}

/* A change was acknowledged: whatever is live of the session has it, now and later. */
inline acknowledge(f) {
	k = 1;
	do
	:: k < IDS -> assert(fam[k] != (f) || !isLive(reg[k]) || (VALS(reg[k]) & once(me))); k++
	:: else -> break
	od;
	acked[f] = acked[f] | once(me)
}

/* A change was refused because the session had ended (409): it was not made. Only where the client of the store has sent it twice by
 * itself it may have been made, and have ended with the session. */
inline refuse() { assert(sentTwice || !(made & once(me))) }

/* ------------------------------------------------------------------------------------------------------ the store ---- */

/* Whose turn it is. An operation goes on by itself from one call of the store to the next. There it passes the turn to whomever,
 * itself included, so that all orders of the calls are looked at, and no order of anything else. */
#define STORE 5
#define NETWORK 6
#define CLOCK 7
byte turn;

inline pass() {
	if
	:: alive & 2 -> turn = 1
	:: alive & 4 -> turn = 2
	:: alive & 8 -> turn = 3
	:: alive & 16 -> turn = 4
	:: lateKind != 0 -> turn = NETWORK
	:: alive && clock < ticks -> turn = CLOCK
	:: alive == 0 && lateKind == 0 -> turn = 0
	fi
}

/* The call under way, and its answer. */
#define SWAP1 1
#define SWAP2 2
#define END 3
#define SWAP_NEW 4    /* SWAP1 of what begins or is changed */
#define SWAP_OLD 5    /* of the old session's tombstone */
#define SWAP_ENDING 6 /* of a tombstone, where the store has no End */
byte kind, by, id1, old1, id2, old2;
Rec new1, new2;
bit again; /* the client of the store sends it a second time */
bit stays; /* what the browser was given in the place of this request's cookie is live */
byte ofCookie;

#define OK 1
#define CONFLICT 2
#define FAILED 3
#define AGAIN 4
byte res, cid; /* and the ID of a conflict */
Rec cur;       /* what was met or replaced */

/* A call that was given up, and arrives within a quarter of a minute or never. */
byte lateKind, lateBy, lateID1, lateOld1, lateID2, lateOld2, lateAt;
Rec late1, late2;

#define fits(id, old, R) (REV(reg[id]) == REV(R) || REV(reg[id]) == (old) || M(SWAP_COMPARES_NOTHING))

inline put(id, R) {
	if
	:: REV(reg[id]) == REV(R) /* made before: only its answer was lost */
	:: else -> check(id, R, by); copy(R, reg[id]); if :: atomic_ -> idx = idx | ((1 << id) & ~anonymous) :: else fi
	fi
}

/* MemoryStore.Swap, MemoryStore.End. */
inline make() {
	if
	:: kind == END && ST(reg[id1]) == TOMB && !M(END_REPLACES_A_TOMBSTONE) -> res = CONFLICT; cid = id1; copy(reg[id1], cur)
	:: kind == END && ST(reg[id1]) == ABSENT && M(END_NEEDS_A_RECORD) -> res = OK
	:: kind != END && !fits(id1, old1, new1) -> res = CONFLICT; cid = id1; copy(reg[id1], cur)
	:: kind == SWAP2 && fits(id1, old1, new1) && !fits(id2, old2, new2) -> res = CONFLICT; cid = id2; copy(reg[id2], cur)
	:: else ->
		res = OK;
		if
		:: kind == END -> copy(reg[id1], cur)
		:: else
		fi;
		put(id1, new1);
		if
		:: kind == SWAP2 -> put(id2, new2)
		:: else
		fi
	fi
}

/* What becomes of a call. */
#define ANSWERED 1
#define NOT_MADE 2    /* and an error */
#define ANSWER_LOST 3 /* made, and an error */
#define SENT_TWICE 4  /* by the client of the store; the second answer counts */
#define MADE_LATER 5  /* an error, and made within a quarter of a minute or never */
#define ARRIVED 6
#define NEVER_MADE 7
byte outcome;

active proctype Store() {
end:	do
	:: atomic {
		turn == STORE ->
		if
		:: again -> again = 0; outcome = ANSWERED
		:: !again -> outcome = ANSWERED
		:: !again && faults > 0 -> faults--; outcome = NOT_MADE
		:: !again && faults > 0 -> faults--; outcome = ANSWER_LOST
		:: !again && faults > 0 && !forget -> faults--; outcome = SENT_TWICE; sentTwice = 1
		:: !again && faults > 0 && lateKind == 0 ->
			faults--; outcome = MADE_LATER; lateKind = kind; lateBy = by; lateAt = clock;
			lateID1 = id1; lateOld1 = old1; copy(new1, late1); lateID2 = id2; lateOld2 = old2; copy(new2, late2)
		fi;
	make_:
		if
		:: outcome == NOT_MADE || outcome == MADE_LATER || outcome == NEVER_MADE -> res = FAILED
		:: else -> make()
		fi;
		if
		:: outcome == ANSWER_LOST -> res = FAILED; clear(cur); cid = 0
		:: outcome == SENT_TWICE -> res = AGAIN; clear(cur); cid = 0
		:: outcome >= ARRIVED -> res = 0; clear(cur); cid = 0
		:: else
		fi;
		stays = (ofCookie != NOBODY && gave[ofCookie] != NOBODY && isLive(reg[gave[ofCookie]]));
		turn = by;
		kind = 0; by = 0; id1 = 0; old1 = 0; id2 = 0; old2 = 0; ofCookie = 0; clear(new1); clear(new2);
		if
		:: outcome >= ARRIVED -> stays = 0; pass()
		:: else
		fi;
		outcome = 0
	   }
	:: atomic {
		turn == NETWORK ->
		kind = lateKind; by = lateBy; id1 = lateID1; old1 = lateOld1; copy(late1, new1); id2 = lateID2; old2 = lateOld2; copy(late2, new2);
		outcome = (clock > lateAt + 1 -> NEVER_MADE : ARRIVED);
		lateKind = 0; lateBy = 0; lateAt = 0; lateID1 = 0; lateOld1 = 0; lateID2 = 0; lateOld2 = 0; clear(late1); clear(late2);
		goto make_
	   }
	:: atomic { /* With each tick a store may forget what its time is over for (Record.KeepUntil), or keep it. */
		turn == CLOCK ->
		clock++;
		k = 1;
		do
		:: k < IDS ->
			if
			:: (ST(reg[k]) == TOMB && isGone(reg[k])) || (isOver(reg[k]) && clock >= USED(reg[k]) + idle + LIFE) -> clear(reg[k])
			:: true
			fi;
			k++
		:: else -> break
		od;
		pass()
	   }
	od
}

/* ----------------------------------------------------------------------------------- what the operations have in common ---- */

inline yield() { clear(cur); res = 0; cid = 0; stays = 0; pass(); turn == me }

/* One call of the store, of the operation's time or another's. */
inline ask() {
	do
	:: clear(cur); res = 0; cid = 0;
		kind = kd; by = me; ofCookie = cookie;
		if
		:: kd == END -> id1 = kid; copy(T, new1)
		:: kd == SWAP2 && !M(NEW_BEFORE_OLD) -> id1 = tid; old1 = trev; copy(T, new1); id2 = nid; old2 = nold; copy(N, new2)
		:: kd == SWAP2 && M(NEW_BEFORE_OLD) -> id2 = tid; old2 = trev; copy(T, new2); id1 = nid; old1 = nold; copy(N, new1)
		:: kd == SWAP_NEW -> kind = SWAP1; id1 = nid; old1 = nold; copy(N, new1)
		:: kd == SWAP_OLD -> kind = SWAP1; id1 = tid; old1 = trev; copy(T, new1)
		:: kd == SWAP_ENDING -> kind = SWAP1; id1 = kid; old1 = REV(known); copy(T, new1)
		fi;
		if
		:: clock > began && !(M(USER_TIME_IS_NOT_BOUNDED) && kd == END) -> /* StoreTimeout is over, which is short beside a tick */
			res = FAILED; kind = 0; by = 0; ofCookie = 0; id1 = 0; old1 = 0; clear(new1); id2 = 0; old2 = 0; clear(new2); again = 0
		:: else -> turn = STORE; turn == me
		fi;
		if
		:: res == AGAIN -> pass(); turn == me; again = 1
		:: else -> break
		fi
	od
}

/* What an operation keeps: two: the attempt is of T at tid in place of trev, and of N at nid in place of nold. tries and began
 * are of the commit under way. using: T is still to be used. */
#define LOCALS \
	byte n, kd, tries, began, tid, trev, nid, nold, kid, fixed, spared, verdict, revs; \
	bit two, ends, doubt, after; \
	Rec base, T, N, known, gone

#define START() turn == me; revs = 0; nid = me

/* Each operation has 16 revisions; the last is for all its logouts. */
#define LAST (16 * me + 15)
inline fresh(R) { assert(revs < 14); revs++; R.a = 16 * me + revs }

/* stamp: R follows O under one ID. Revisions are forgotten from the front. */
inline stamp(R, O) {
	if
	:: M(RECORD_FORGETS_ITS_REVISIONS) || (M(TOMBSTONE_FORGETS_REVISIONS) && ST(R) == TOMB)
	:: else ->
		R.a = (R.a & 255) | ((O.a & 65535) << 8);
		if
		:: true
		:: forget -> R.a = R.a & 65535
		:: forget -> R.a = R.a & 255
		fi
	fi
}

/* What an operation kept does not matter once it has ended. */
inline finish() {
	n = 0; kd = 0; tries = 0; began = 0; tid = 0; trev = 0; nid = 0; nold = 0; kid = 0; fixed = 0; spared = 0; verdict = 0; revs = 0;
	two = 0; ends = 0; doubt = 0; after = 0;
	clear(base); clear(T); clear(N); clear(known); clear(gone); clear(cur); res = 0; cid = 0; stays = 0;
	alive = alive & ~(1 << me);
	pass()
}

/* errTooLateToResend: more than half a tombstone's life ago. */
#define tooLate(since) (clock > (since) + 2)

/* Store.Swap of the attempt: both at once; or one by one, in their order, after the index. */
inline swap() {
	if
	:: atomic_ -> kd = (two -> SWAP2 : SWAP_NEW)
	:: else ->
		kd = (two && !M(NEW_BEFORE_OLD) -> SWAP_OLD : SWAP_NEW);
		if
		:: nold == 0 && !M(INDEX_AFTER_THE_RECORD) -> yield(); idx = idx | ((1 << nid) & ~anonymous)
		:: else
		fi
	fi;
	do
	:: pass();
		turn == me;
		ask();
		if
		:: res == OK && !atomic_ && two && kd == SWAP_OLD && !M(NEW_BEFORE_OLD) -> kd = SWAP_NEW
		:: res == OK && !atomic_ && two && kd == SWAP_NEW && M(NEW_BEFORE_OLD) -> kd = SWAP_OLD
		:: else -> break
		fi
	od;
	if
	:: !atomic_ && nold == 0 && res == OK && M(INDEX_AFTER_THE_RECORD) -> yield(); res = OK; idx = idx | ((1 << nid) & ~anonymous)
	:: else
	fi
}

/* ending.go: putTombstone of T at kid; known is what is known of it. Out: res; ends, that it was put; gone, what was replaced;
 * known, the tombstone that stands there. */
inline putTombstone() {
	if
	:: ender ->
		kd = END; pass(); turn == me; ask();
		if
		:: res == OK -> ends = 1; copy(cur, gone); copy(T, known)
		:: res == CONFLICT && REV(cur) == REV(T) && !M(OWN_TOMBSTONE_IS_ANOTHERS) -> /* put before, and only its answer was lost */
			ends = 1; res = OK; clear(gone); copy(T, known)
		:: res == CONFLICT && (REV(cur) != REV(T) || M(OWN_TOMBSTONE_IS_ANOTHERS)) -> res = OK; copy(cur, known)
		:: else
		fi
	:: else -> /* swapTombstone */
		if
		:: ST(known) == TOMB -> clear(known)
		:: else
		fi;
		do
		:: T.a = T.a & 255;
			if
			:: ST(known) == LIVE -> stamp(T, known)
			:: else
			fi;
			kd = SWAP_ENDING; pass(); turn == me; ask();
			if
			:: res == OK -> ends = 1; copy(known, gone); copy(T, known); break
			:: res == FAILED -> break
			:: res == CONFLICT && ST(cur) == TOMB -> res = OK; copy(cur, known); break
			:: res == CONFLICT && ST(cur) != TOMB -> copy(cur, known)
			fi
		od
	fi
}

/* ending.go: endSession. In: kid and known, which is a tombstone or has the ID; fixed, the revision of the tombstones, or 0;
 * spared, IDs at which it stops. */
inline endSession(rv) {
	res = OK; ends = 0; clear(gone);
	do
	:: ST(known) == TOMB && (SUCC(known) == NOBODY || M(ENDING_DOES_NOT_FOLLOW)) -> break
	:: ST(known) == TOMB && (spared & (1 << SUCC(known))) && !M(SPARED_ARE_FOLLOWED) -> break
	:: else ->
		if
		:: ST(known) == TOMB -> kid = SUCC(known); clear(known)
		:: else
		fi;
		if
		:: fixed != 0 && !M(LOGOUT_WITH_NEW_REVISIONS) -> T.a = fixed
		:: else -> fresh(T)
		fi;
		T.b = MADE(TOMB, rv, NOBODY, clock, 0);
		putTombstone();
		if
		:: res != OK || ends -> break
		:: else
		fi
	od
}

/* load.go: load. */
inline load() {
	yield();
	began = clock;
	if
	:: cookie != NOBODY -> copy(reg[cookie], base); after = (gave[cookie] != NOBODY)
	:: else
	fi;
	if
	:: isGone(base) || isOver(base) -> clear(base)
	:: else
	fi
}

/* commit.go: reloadIfOver. Out: base, which is no live one if the session has ended. */
inline reloadIfOver() {
	if
	:: isOver(base) && !M(EXPIRED_IS_WRITTEN) -> yield(); copy(reg[cookie], base)
	:: else
	fi
}

/* doubt.go: judge, of what a resent attempt met. verdict is 0 for unknown, 1 for made, 2 for not made. */
inline judge() {
	if
	:: cid != nid -> /* of a tombstone that was put nothing else can have taken the place */
		verdict = (ST(cur) == ABSENT || knows(cur, REV(T)) -> 0 : 2)
	:: cid == nid && ST(cur) == ABSENT -> verdict = 0
	:: cid == nid && ST(cur) != ABSENT && (knows(cur, REV(N)) || (nold == 0 && ST(cur) == LIVE)) -> verdict = 1
	:: cid == nid && ST(cur) != ABSENT && !knows(cur, REV(N)) && !(nold == 0 && ST(cur) == LIVE) ->
		verdict = (nold != 0 && knows(cur, nold) -> 2 : 0);
		if
		:: M(JUDGE_REPLAYS_WHAT_IS_UNKNOWN) && nold != 0 && ST(cur) == LIVE -> verdict = 2
		:: M(JUDGE_TAKES_AN_END_FOR_NOT_MADE) && nold != 0 && ST(cur) == TOMB -> verdict = 2
		:: else
		fi
	fi;
	assert(verdict != 0 || !told)
}

/* --------------------------------------------------------------------------------------------------- the operations ---- */

/* A request that sets something, by an Update: in the session of its cookie (commit_steps.go: commitChanges; group_commit.go:
 * commitTogether, commitAlone, sendAttempt), or for a visitor in a new one (commit_new_id.go: commitNewID, meetOwnEnd). In doubt it
 * sends again what it has sent (doubt.go: resolveDoubt). */
proctype Change(byte me; byte cookie; bit together) {
	LOCALS;
	bit begins;
	atomic {
	START();
	if
	:: together -> /* it went with another one, and the answer was lost (group_commit.go: markSent; commit_steps.go: conclude) */
		copy(shared, N); nid = S; nold = 1; base.a = 1; base.b = MADE(LIVE, 0, NOBODY, 0, 0); tries = 1;
		doubt = !M(NO_DOUBT);
		goto commit
	:: else
	fi;
	load();
	if
	:: isLate(base) -> refuse(); goto over /* commit.go: refuseChanges */
	:: ST(base) == LIVE -> nid = cookie
	:: else -> begins = 1; anonymous = anonymous | (1 << me)
	fi;
	yield(); /* the handler takes its time */
commit:
	tries++; began = clock;
	if
	:: doubt -> goto resolve
	:: !doubt && begins -> fresh(N); N.b = MADE(LIVE, 0, NOBODY, clock, once(me))
	:: else -> reloadIfOver(); if :: ST(base) != LIVE || (isOver(base) && !M(EXPIRED_IS_WRITTEN)) -> refuse(); goto over :: else fi
	fi;
	n = VALS(base);
replay: /* the log on what is stored now (changes.go: draft.replay) */
	if
	:: begins
	:: else ->
		nold = REV(base); fresh(N);
		N.b = MADE(LIVE, 0, NOBODY, clock, (M(REPLAYS_ON_WHAT_WAS_LOADED) -> n : VALS(base)) + once(me));
		stamp(N, base)
	fi;
	swap();
	if
	:: res == OK -> goto done
	:: res == CONFLICT && knows(cur, REV(N)) && ST(cur) == LIVE && !M(STORES_RESENDING_IS_FORGOTTEN) -> goto done
	:: res == CONFLICT && knows(cur, REV(N)) && ST(cur) == TOMB && !begins -> goto done
	:: res == CONFLICT && begins && !knows(cur, REV(N)) -> goto over
	:: res == CONFLICT && !begins && isLive(cur) && (!knows(cur, REV(N)) || M(STORES_RESENDING_IS_FORGOTTEN)) -> copy(cur, base); goto replay
	:: res == CONFLICT && !begins && !isLive(cur) && !knows(cur, REV(N)) -> refuse(); goto over
	:: res == FAILED -> doubt = !M(NO_DOUBT)
	:: else -> goto over
	fi;
	if
	:: tries < tries_ -> goto commit
	:: else -> goto over
	fi;
resolve:
	if
	:: nold == 0 && tooLate(USED(N)) && !M(RESENT_AT_ANY_TIME) -> goto over /* errTooLateToResend */
	:: else
	fi;
	swap();
	if
	:: res == OK -> goto done
	:: res == CONFLICT -> judge()
	:: res == FAILED -> if :: tries < tries_ -> goto commit :: else -> goto over fi
	fi;
	if
	:: verdict == 1 && (ST(cur) == LIVE || !begins) -> goto done /* wasMade: also where the session has ended since */
	:: verdict == 2 && ST(cur) == TOMB -> refuse(); goto over     /* replayed, it meets the end */
	:: verdict == 2 && ST(cur) != TOMB -> doubt = 0; n = VALS(base); goto replay
	:: verdict == 0 && M(UNKNOWN_IS_ASKED_FOR_EVER) -> goto resolve
	:: else -> goto over
	fi;
done:
	acknowledge(fam[nid]);
	assert(!begins || !after || ticks > 0); /* no new cookie pushes the browser off what it had been given when this was loaded */
over:
	begins = 0;
	finish()
	}
}

/* A request that only uses its session (load.go: noteUseAtOnce; commit_steps.go: commitTouch). */
proctype Touch(byte me; byte cookie) {
	LOCALS;
	atomic {
	START();
	load();
	if
	:: ST(base) != LIVE -> goto over
	:: else -> yield(); began = clock; reloadIfOver()
	fi;
	if
	:: ST(base) != LIVE || (isOver(base) && !M(EXPIRED_IS_WRITTEN)) -> goto over
	:: else
	fi;
	nid = cookie; nold = REV(base); fresh(N); N.b = MADE(LIVE, 0, NOBODY, clock, VALS(base)); stamp(N, base);
	swap();
	if
	:: res == CONFLICT && ST(cur) == LIVE && M(TOUCH_WRITES_OVER) -> nold = REV(cur); fresh(N); stamp(N, cur); swap()
	:: else /* a touch that meets a conflict is dropped: the other was use too */
	fi;
over:
	finish()
	}
}

/* Regenerate, with an Update (commit_new_id.go: commitNewID, swapsFrom, takeOver, replayNewID, meetOwnEnd). */
proctype Regenerate(byte me; byte cookie) {
	LOCALS;
	atomic {
	START();
	load();
	if
	:: ST(base) != LIVE -> goto over
	:: else -> yield()
	fi;
commit:
	tries++; began = clock;
	if
	:: doubt -> goto resolve
	:: else -> reloadIfOver(); if :: ST(base) != LIVE || (isOver(base) && !M(EXPIRED_IS_WRITTEN)) -> refuse(); goto over :: else fi
	fi;
	two = 1; tid = cookie; trev = REV(base); fresh(T); T.b = MADE(TOMB, 0, (M(NO_SUCCESSOR) -> NOBODY : me), clock, 0); stamp(T, base);
	nold = 0; fresh(N); N.b = MADE(LIVE, 0, NOBODY, clock, VALS(base) + once(me));
send:
	swap();
	if
	:: res == OK -> goto done
	:: res == FAILED -> doubt = 1; if :: tries < tries_ -> goto commit :: else -> goto over fi /* failNewID */
	:: res == CONFLICT && cid == me -> /* meetOwnEnd */
		if
		:: ST(cur) == LIVE && knows(cur, REV(N)) -> goto done
		:: ST(cur) == TOMB && M(OWN_END_IS_NO_END) -> two = 0; nold = REV(cur); goto send
		:: else -> goto over
		fi
	:: res == CONFLICT && cid != me -> /* takeOver */
		if
		:: ST(cur) == TOMB && SUCC(cur) == me -> goto unknown /* ended by this request, which was not told what it was then */
		:: (ST(cur) == ABSENT || (ST(cur) == TOMB && SUCC(cur) != me)) && !M(TAKES_OVER_A_TOMBSTONE) -> refuse(); goto over
		:: (ST(cur) == ABSENT || (ST(cur) == TOMB && SUCC(cur) != me)) && M(TAKES_OVER_A_TOMBSTONE) -> two = 0; goto send
		:: ST(cur) == LIVE
		fi
	fi;
	two = 0; fresh(T); T.b = MADE(TOMB, 0, (M(NO_SUCCESSOR) -> NOBODY : me), clock, 0); kid = cookie; ends = 0; copy(cur, known); clear(gone);
	putTombstone();
	if
	:: res == FAILED -> if :: tries < tries_ -> goto commit :: else -> goto over fi
	:: res == OK && ends && ST(gone) == ABSENT -> goto unknown
	:: res == OK && (!ends || (ST(gone) != ABSENT && !isLive(gone))) -> refuse(); goto over
	:: else
	fi;
	/* replayNewID: on what the session was when it ended */
	nold = 0; fresh(N); N.b = MADE(LIVE, 0, NOBODY, clock, (M(NEW_ID_FROM_WHAT_WAS_LOADED) -> VALS(base) : VALS(gone)) + once(me));
	goto send;
unknown: /* errUnknownOutcome */
	if
	:: M(LOST_RECORD_IS_THE_LOADED) -> two = 0; nold = 0; fresh(N); N.b = MADE(LIVE, 0, NOBODY, clock, VALS(base) + once(me)); goto send
	:: !M(LOST_RECORD_IS_THE_LOADED) && tries < tries_ -> goto commit
	:: else -> goto over
	fi;
resolve:
	if
	:: tooLate(USED(N)) && !M(RESENT_AT_ANY_TIME) -> goto over
	:: else
	fi;
	swap();
	if
	:: res == OK -> goto done
	:: res == CONFLICT -> judge()
	:: res == FAILED -> if :: tries < tries_ -> goto commit :: else -> goto over fi
	fi;
	if
	:: verdict == 1 && ST(cur) == LIVE -> goto done
	:: verdict == 2 -> doubt = 0; if :: tries < tries_ -> goto commit :: else -> goto over fi
	:: else -> goto over
	fi;
done:
	gave[cookie] = me;
	acknowledge(fam[me]);
over:
	finish()
	}
}

/* Login, which keeps the values (commit_new_id.go: commitNewID, planNewID, takeOver, loginOver); in doubt it may log out instead
 * (commit_steps.go: commitDestroy, endDoubtful). MaxPerUser follows (users.go: enforceMaxPerUser). */
proctype Login(byte me; byte cookie; bit regrets) {
	LOCALS;
	Rec lst[IDS];
	byte count;
	atomic {
	START();
	load();
	fixed = LAST; /* commit_steps.go: logout */
	if
	:: ST(base) == LIVE || isLate(base) -> from[me] = fam[cookie]
	:: else
	fi;
	yield();
commit:
	tries++; began = clock;
	if
	:: doubt -> goto resolve
	:: else
	fi;
	/* planNewID */
	two = 0; nold = 0; fresh(N); N.b = MADE(LIVE, 0, NOBODY, clock, (isLive(base) -> VALS(base) : 0));
	if
	:: isLive(base) || (isRevoked(base) && !M(REVOKED_IS_NOT_TAKEN_OVER)) ->
		two = 1; tid = cookie; trev = REV(base); fresh(T); T.b = MADE(TOMB, 0, NOBODY, clock, 0); stamp(T, base)
	:: ST(base) == ABSENT || (isRevoked(base) && M(REVOKED_IS_NOT_TAKEN_OVER))
	:: else -> copy(base, known); kid = cookie; goto loginOver
	fi;
send:
	swap();
	if
	:: res == OK -> goto done
	:: res == FAILED -> doubt = 1;
		if
		:: regrets -> goto regret
		:: !regrets && tries < tries_ -> goto commit
		:: else -> goto over
		fi
	:: res == CONFLICT && cid == me -> /* meetOwnEnd */
		if
		:: ST(cur) == LIVE && knows(cur, REV(N)) -> goto done
		:: ST(cur) == TOMB && M(OWN_END_IS_NO_END) -> two = 0; nold = REV(cur); goto send
		:: else -> goto over
		fi
	:: res == CONFLICT && cid != me && ST(cur) == ABSENT -> two = 0; fresh(N); N.b = MADE(LIVE, 0, NOBODY, clock, 0); goto send
	:: res == CONFLICT && cid != me && ST(cur) != ABSENT -> copy(cur, known); kid = cookie; if :: ST(cur) == LIVE -> copy(cur, base) :: else fi
	fi;
loginOver: /* ends what the old session goes on as */
	two = 0;
	if
	:: M(LOGIN_DOES_NOT_FOLLOW) && ST(known) == TOMB -> ends = 0; res = OK
	:: else -> endSession(0)
	fi;
	if
	:: res == FAILED -> if :: tries < tries_ -> goto commit :: else -> goto over fi
	:: else
	fi;
	nold = 0; fresh(N);
	if
	:: !ends && isRevoked(known) && !M(REVOKED_IS_NOT_TAKEN_OVER) -> /* later requests with the old cookie are late ones then */
		two = 1; tid = kid; trev = REV(known); fresh(T); T.b = MADE(TOMB, 0, NOBODY, clock, 0); stamp(T, known); n = 0
	:: ends && ST(gone) != ABSENT -> n = (isLive(gone) -> VALS(gone) : 0)
	:: (ends && ST(gone) == ABSENT) || (!ends && REV(known) == LAST) -> n = (isLive(base) -> VALS(base) : 0) /* the last that was met */
	:: else -> n = 0
	fi;
	N.b = MADE(LIVE, 0, NOBODY, clock, n);
	goto send;
resolve:
	if
	:: tooLate(USED(N)) && !M(RESENT_AT_ANY_TIME) -> goto over
	:: else
	fi;
	swap();
	if
	:: res == OK -> goto done
	:: res == CONFLICT && cid == me && ST(cur) == TOMB && M(OWN_END_IS_NO_END) -> two = 0; nold = REV(cur); goto send
	:: res == CONFLICT && !(cid == me && ST(cur) == TOMB && M(OWN_END_IS_NO_END)) -> judge()
	:: res == FAILED -> if :: tries < tries_ -> goto commit :: else -> goto over fi
	fi;
	if
	:: verdict == 1 && ST(cur) == LIVE -> goto done
	:: verdict == 2 -> doubt = 0; if :: tries < tries_ -> goto commit :: else -> goto over fi
	:: else -> goto over
	fi;
regret: /* commitDestroy in doubt: endKnown, then endDoubtful */
	two = 0;
	if
	:: ST(base) == LIVE || isLate(base) -> copy(base, known); kid = cookie; endSession(0); if :: res == FAILED -> goto over :: else fi
	:: else
	fi;
	if
	:: M(LOGOUT_FORGETS_DOUBT)
	:: else -> clear(known); kid = me; endSession(0); if :: res == FAILED -> goto over :: else fi
	fi;
	acknowledgeEnd((1 << fam[me]) | (from[me] != NOBODY -> 1 << from[me] : 0));
	goto over;
done:
	if
	:: cookie != NOBODY -> gave[cookie] = me
	:: else
	fi;
	if
	:: most == 0 || M(NO_EVICTION) -> goto over
	:: else
	fi;
	/* enforceMaxPerUser: by login and then by ID; here all log in at one time */
	two = 0;
	yield();
	n = 1;
	do
	:: n < IDS -> if :: (idx & (1 << n)) && isLive(reg[n]) -> copy(reg[n], lst[n]); count++ :: else fi; n++
	:: else -> break
	od;
	n = 1; fixed = 0;
	do
	:: count > most && n < IDS ->
		if
		:: ST(lst[n]) == LIVE && !(M(EACH_EVICTS_THE_OTHERS) && n == me) ->
			copy(lst[n], known); kid = n;
			endSession(1);
			count = (res == FAILED -> 0 : count - 1) /* an event tells, and the next login ends more */
		:: else
		fi;
		n++
	:: else -> break
	od;
over:
	n = 1; do :: n < IDS -> clear(lst[n]); n++ :: else -> break od; count = 0;
	finish()
	}
}

/* Destroy, which asks again after a failure (commit_steps.go: commitDestroy, endKnown, endDestroyed). */
proctype Destroy(byte me; byte cookie) {
	LOCALS;
	bit loaded, deletes;
	atomic {
	START();
	load();
	fixed = LAST;
	loaded = (ST(base) == LIVE || isLate(base));
	yield();
commit:
	tries++;
	if
	:: ST(base) == ABSENT -> deletes = 1; goto done
	:: ST(base) != ABSENT && !loaded && M(LOGOUT_OF_A_REVOKED_DOES_NOT_LOOK) ->
		yield(); deletes = 1; stays = (gave[cookie] != NOBODY && isLive(reg[gave[cookie]])); goto done
	:: ST(base) != ABSENT && !loaded && !M(LOGOUT_OF_A_REVOKED_DOES_NOT_LOOK) -> /* which a Login may have taken over since */
		T.a = fixed; T.b = MADE(TOMB, 0, NOBODY, clock, 0); kid = cookie; copy(base, known); ends = 0;
		putTombstone()
	:: loaded -> copy(base, known); kid = cookie; endSession(0)
	fi;
	if
	:: res == FAILED && tries < tries_ -> goto commit
	:: res == FAILED && tries >= tries_ -> goto over
	:: else
	fi;
	deletes = M(LOGOUT_ALWAYS_DELETES_THE_COOKIE) || !(ST(known) == TOMB && !ends && (loaded || !REVOKED(known)));
	if
	:: loaded -> acknowledgeEnd(1 << fam[cookie])
	:: else
	fi;
done:
	assert(!deletes || !stays || endedBy[cookie] == me);                      /* it does not delete what a Login gave before */
	assert(!loaded || ST(base) != LIVE || endedBy[cookie] != me || deletes);  /* who ended the session deletes its cookie */
over:
	loaded = 0; deletes = 0;
	finish()
	}
}

/* Revoke of one ID (users.go: revoke, loadFollowing). */
proctype Revoke(byte me; byte id) {
	LOCALS;
	byte cookie;
	atomic {
	START();
	yield();
	kid = id; copy(reg[id], known); began = clock;
	do
	:: ST(known) == TOMB && !isGone(known) && SUCC(known) != NOBODY ->
		yield();
		if
		:: isGone(reg[SUCC(known)]) -> break /* a successor that is not there yet is one to end */
		:: else -> kid = SUCC(known); copy(reg[kid], known)
		fi
	:: else -> break
	od;
	if
	:: isGone(known) || isOver(known) || (ST(known) == TOMB && SUCC(known) == NOBODY) -> goto over
	:: else -> endSession(1)
	fi;
	if
	:: res == OK && ends -> acknowledgeEnd(1 << fam[id])
	:: else
	fi;
over:
	finish()
	}
}

/* users.go: withSuccessors. */
inline loadExcepted() {
	n = except;
	do
	:: n != NOBODY && !(spared & (1 << n)) ->
		yield();
		spared = spared | (1 << n);
		n = (ST(reg[n]) == TOMB && !M(EXCEPTED_WITHOUT_SUCCESSORS) -> SUCC(reg[n]) : NOBODY)
	:: else -> break
	od;
	n = 0
}

/* RevokeUser (users.go: revokeUser, withSuccessors, endAll). */
proctype RevokeUser(byte me; byte except) {
	LOCALS;
	byte cookie, covered, todo;
	Rec lst[IDS];
	atomic {
	START();
	if
	:: M(EXCEPTED_ARE_LOADED_BEFORE_THE_LIST) -> loadExcepted()
	:: else
	fi;
	yield();
	/* UserSessions. What is live now is covered, except what the excepted session goes on as. */
	n = 1; todo = idx; began = clock;
	do
	:: n < IDS ->
		if
		:: isLive(reg[n]) && !(anonymous & (1 << n)) && (except == NOBODY || fam[n] != fam[except]) -> covered = covered | (1 << fam[n])
		:: else
		fi;
		if
		:: atomic_ && (idx & (1 << n)) -> copy(reg[n], lst[n])
		:: else
		fi;
		n++
	:: else -> break
	od;
	n = 1;
	do
	:: n < IDS && !atomic_ -> /* the index, then each record */
		if
		:: todo & (1 << n) -> yield(); if :: clock > began && !M(USER_TIME_IS_NOT_BOUNDED) -> goto over :: else -> copy(reg[n], lst[n]) fi
		:: else
		fi;
		n++
	:: else -> break
	od;
	if
	:: M(EXCEPTED_ARE_LOADED_BEFORE_THE_LIST)
	:: else -> loadExcepted()
	fi;
	do /* endAll, in any order */
	:: todo == 0 -> break
	:: else ->
		if
		:: todo & 2 -> n = 1
		:: todo & 4 -> n = 2
		:: todo & 8 -> n = 3
		:: todo & 16 -> n = 4
		:: todo & 32 -> n = 5
		fi;
		todo = todo & ~(1 << n);
		if
		:: (spared & (1 << n)) || isGone(lst[n]) || (ST(lst[n]) == TOMB && SUCC(lst[n]) == NOBODY)
		:: else ->
			copy(lst[n], known); kid = n;
			endSession(1);
			assert(except == NOBODY || !ends || fam[kid] != fam[except]); /* an excepted session is not ended */
			if
			:: res == FAILED -> goto over
			:: else
			fi
		fi;
		clear(lst[n])
	od;
	acknowledgeEnd(covered);
over:
	n = 1; do :: n < IDS -> clear(lst[n]); n++ :: else -> break od; covered = 0; todo = 0;
	finish()
	}
}

/* A list for Sessions, which takes nothing off the index because its record is missing; and then RevokeUser. */
proctype Sessions(byte me) {
	LOCALS;
	byte listed;
	atomic {
	START();
	yield();
	listed = idx; n = 1;
	do
	:: n < IDS ->
		if
		:: listed & (1 << n) -> yield(); if :: ST(reg[n]) == ABSENT && M(INDEX_IS_PRUNED) -> idx = idx & ~(1 << n) :: else fi
		:: else
		fi;
		n++
	:: else -> break
	od;
	listed = 0;
	finish()
	}
}

/* The attempt of two requests that went together: it was made, it is to arrive, or it never will. */
inline sendShared(p, q) {
	shared.a = 250 | (1 << 8); shared.b = MADE(LIVE, 0, NOBODY, 0, once(p) + once(q));
	if
	:: copy(shared, reg[S]); made = once(p) | once(q)
	:: lateKind = SWAP1; lateID1 = S; lateOld1 = 1; lateBy = p; copy(shared, late1)
	:: true
	fi
}

#define operations(n) alive = (1 << ((n) + 1)) - 2

init {
	byte live;
	atomic {
		c_code {
			now.scenario = env("SCENARIO"); now.mutant = env("MUTANT"); now.faults = env("FAULTS"); now.ticks = env("TICKS");
			now.atomic_ = env("ATOMIC"); now.ender = env("ENDER"); now.forget = env("FORGET"); now.told = env("TOLD");
			now.tries_ = env("TRIES"); now.most = env("MAX"); now.idle = env("IDLE"); now.allowed = now.faults;
		};
		live = 1;
		do
		:: live < IDS -> fam[live] = live; live++
		:: else -> break
		od;
		live = 0;
		reg[S].a = 1; reg[S].b = MADE(LIVE, 0, NOBODY, 0, 0); idx = 1 << S;
		if
		:: scenario == 1 -> /* changes: three requests set something in one session */
			operations(3); run Change(1, S, 0); run Change(2, S, 0); run Change(3, S, 0)
		:: scenario == 2 -> /* together: two requests are in doubt about one swap, a third one sets something */
			operations(3); sendShared(1, 2); run Change(1, S, 1); run Change(2, S, 1); run Change(3, S, 0)
		:: scenario == 3 -> /* touches: a request only uses the session, one sets something, one logs out */
			operations(3); run Touch(1, S); run Change(2, S, 0); run Destroy(3, S)
		:: scenario == 4 -> /* regenerates: two requests regenerate the session, a third one sets something */
			operations(3); fam[1] = S; fam[2] = S; run Regenerate(1, S); run Regenerate(2, S); run Change(3, S, 0)
		:: scenario == 5 -> /* logouts: a request regenerates the session, one logs out, one sets something */
			operations(3); fam[1] = S; run Regenerate(1, S); run Destroy(2, S); run Change(3, S, 0)
		:: scenario == 6 -> /* logins: a request logs in, one regenerates the session, one sets something */
			operations(3); fam[2] = S; run Login(1, S, 0); run Regenerate(2, S); run Change(3, S, 0)
		:: scenario == 7 -> /* in_out: a request logs in, one logs out, one sets something */
			operations(3); run Login(1, S, 0); run Destroy(2, S); run Change(3, S, 0)
		:: scenario == 8 -> /* revoked: the session is revoked, and its browser logs in; one request is late */
			operations(3); run Revoke(1, S); run Login(2, S, 0); run Change(3, S, 0)
		:: scenario == 9 -> /* revoked_out: the same, and a late request logs out */
			operations(3); run Revoke(1, S); run Login(2, S, 0); run Destroy(3, S)
		:: scenario == 10 -> /* revoked_regenerated: the session is revoked while it is regenerated and written */
			operations(3); fam[2] = S; run Revoke(1, S); run Regenerate(2, S); run Change(3, S, 0)
		:: scenario == 11 -> /* user: all sessions of the user are ended while one logs in and one regenerates */
			operations(3); fam[3] = S; run RevokeUser(1, NOBODY); run Login(2, S, 0); run Regenerate(3, S)
		:: scenario == 12 -> /* except: all but one are ended, while that one is regenerated and another logs in */
			operations(3); fam[2] = S; run RevokeUser(1, S); run Regenerate(2, S); run Login(3, NOBODY, 0)
		:: scenario == 13 -> /* index: one logs in while the list is made, and then the user is revoked */
			operations(3); run Login(1, NOBODY, 0); run Sessions(2); run RevokeUser(3, NOBODY)
		:: scenario == 14 -> /* regret: a login in doubt is followed by a logout, while another one regenerates */
			operations(2); fam[2] = S; run Login(1, S, 1); run Regenerate(2, S)
		:: scenario == 15 -> /* most: two requests log in a user who may have one session */
			operations(2); run Login(1, NOBODY, 0); run Login(2, S, 0)
		:: scenario == 16 -> /* minutes: a login in doubt outlives the tombstone that a revocation has put */
			operations(2); run Login(1, S, 0); run RevokeUser(2, NOBODY)
		:: scenario == 17 -> /* minutes_regenerated: the session is revoked while it is regenerated */
			operations(2); fam[1] = S; run Regenerate(1, S); run Revoke(2, S)
		:: scenario == 18 -> /* idle: the session runs out while requests that have loaded it go on */
			operations(2); run Change(1, S, 0); run Touch(2, S)
		:: scenario == 19 -> /* idle_regenerated: the session runs out while it is regenerated */
			operations(2); fam[2] = S; run Touch(1, S); run Regenerate(2, S)
		:: scenario == 21 -> /* except_given_out: the session that has been regenerated is the one excepted, and is regenerated again */
			operations(3); fam[4] = S; fam[2] = S; copy(reg[S], reg[4]); reg[4].a = 250; idx = idx | (1 << 4);
			reg[S].a = 251; reg[S].b = MADE(TOMB, 0, 4, 0, 0); ended = 1 << S;
			run RevokeUser(1, 4); run Regenerate(2, 4); run Change(3, 4, 0)
		:: scenario == 20 -> /* minutes_user: what a revocation has listed is regenerated, and minutes pass before it is ended */
			operations(2); fam[1] = S; run Regenerate(1, S); run RevokeUser(2, NOBODY)
		fi;
		pass()
	};
	alive == 0; /* every operation ends: else this is an invalid end state */
	atomic {
		if
		:: most > 0 && faults == allowed -> /* where no call went wrong, as many sessions are left as there may be */
			k = 1;
			do
			:: k < IDS -> live = live + (isLive(reg[k]) -> 1 : 0); k++
			:: else -> break
			od;
			assert(live == most)
		:: else
		fi
	}
}
