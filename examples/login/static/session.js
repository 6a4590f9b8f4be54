// Tells whoever is signed in what becomes of the session: that it is about to end (WCAG 2.2.1), and that it has ended,
// here or elsewhere. The texts are in the page, in the visitor's language.
const page = document.getElementById('session');
const ending = document.getElementById('session-ending');
const stay = document.getElementById('session-stay');
const warnBefore = 120; // seconds

let events; // the connection on which the server tells of the end
let timer;  // for the next question how much time is left
let over = false;

function show(id) {
	for (const note of page.querySelectorAll('[role=alert]')) note.hidden = note.id !== id;
}

// finish says why the session has ended, once.
function finish(cause) {
	if (over) return;
	over = true;
	clearTimeout(timer);
	events?.close();
	show(cause === 'revoked' ? 'session-revoked' : cause === 'expired' ? 'session-expired' : 'session-over');
	document.documentElement.dataset.session = 'over';
}

// check asks how much time is left. GET is no use of the session; POST is, and is the answer to "stay?".
async function check(method = 'GET', cause = 'over') {
	clearTimeout(timer);
	if (over) return;
	let left;
	try {
		const answer = await fetch('/session/time-left', {method, cache: 'no-store', redirect: 'error'});
		if (!answer.ok) throw new Error(answer.statusText);
		left = await answer.json();
	} catch { // the server is away: that says nothing about the session
		timer = setTimeout(check, 15_000);
		return;
	}
	if (!left.signedIn) return finish(cause);
	const warn = left.secondsLeft <= warnBefore;
	stay.hidden = left.secondsAtMost <= left.secondsLeft;
	if (!warn) show(null);
	else if (ending.hidden) show(ending.id);
	const next = warn ? Math.min(left.secondsLeft + 1, 10) : Math.min(left.secondsLeft - warnBefore + 1, 3600);
	timer = setTimeout(() => check('GET', 'expired'), next * 1000);
}

// connect listens for the end. A browser has few connections to one site, so only the page that is seen has one.
function connect() {
	events?.close();
	if (over || document.hidden) return;
	const stream = events = new EventSource('/session/events');
	stream.addEventListener('error', () => {
		if (stream.readyState === EventSource.CLOSED) check(); // nobody is signed in; otherwise the browser connects again
	});
	stream.addEventListener('ended', async event => {
		stream.close();
		if (event.data === 'revoked' || event.data === 'expired') return check('GET', event.data);
		// Another tab of this browser did it. It may have signed in, or have given the session another ID, and its answer
		// with the new cookie may still be on its way.
		setTimeout(() => check('GET', event.data).then(connect), 2000);
	});
}

function resume() {
	connect();
	if (!document.hidden) check();
}

stay.addEventListener('click', () => check('POST'));
document.addEventListener('visibilitychange', resume);
window.addEventListener('focus', () => check()); // the computer may have slept
resume();
