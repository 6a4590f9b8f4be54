/*
 * That an ending arrives, whatever others do without a pause: each process here that can go on does so at some time (weak
 * fairness), and that is all that is known of their speeds.
 *
 *   MUTANT 1: an ending compares, as a change does (ending.go: putTombstone without Ender)
 *   MUTANT 2: a session may be regenerated again at once (commit_new_id.go: waitForGap)
 */

c_decl {
	extern char *getenv(const char *);
	extern int atoi(const char *);
};

#define IDS 4

byte mutant;
bit ready, ended, arrived;

/* One session that is written without a pause. */
byte revision;
bit tombstone;

/* One session that is regenerated without a pause, under IDs that are used again once nobody can know them any more. */
byte current;   /* the ID that is live */
byte calls = 2; /* of the ending since the last Regenerate, up to two: within the 200 ms, two calls are made */

init {
	c_code { now.mutant = getenv("MUTANT") ? atoi(getenv("MUTANT")) : 0; };
	ready = 1
}

active proctype Writer() {
	byte seen;
	ready;
	do
	:: tombstone -> break
	:: atomic { !tombstone -> seen = revision };
		if
		:: atomic { seen == revision && !tombstone -> revision = (revision + 1) % 8 }
		:: seen != revision || tombstone
		fi
	od
}

active proctype Ending() {
	byte seen;
	ready;
	if
	:: mutant != 1 -> tombstone = 1 /* Ender.End */
	:: mutant == 1 ->
		do
		:: seen = revision;
			if
			:: atomic { seen == revision -> tombstone = 1 }; break
			:: seen != revision
			fi
		od
	fi;
	ended = 1
}

active proctype Thief() {
	ready;
	do
	:: arrived -> break
	:: atomic { !arrived && (calls == 2 || mutant == 2) -> current = (current + 1) % IDS; calls = 0 }
	od
}

active proctype Following() { /* ending.go: endSession, from successor to successor */
	byte at;
	ready;
	do
	:: atomic { at == current -> arrived = 1; break }
	:: atomic { at != current -> at = (at + 1) % IDS; calls = (calls < 2 -> calls + 1 : 2) }
	od
}

ltl endingArrives { <> ended }
ltl followingArrives { <> arrived }
