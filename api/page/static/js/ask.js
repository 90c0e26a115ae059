// Questions to the daemon, and whether it answers.

/** What the daemon refused: its problem's detail, which ends in what to type next. */
export class Refusal extends Error {
	/** @param {number} status @param {string} detail */
	constructor(status, detail) {
		super(detail);
		this.status = status;
	}
}

/** The daemon didn't answer. */
export class Unreachable extends Error {}

const patience = 15_000; // ms for an answer

/** @type {{since: number | null, told: Set<(since: number | null) => void>, locked: Set<() => void>}} */
const state = {since: null, told: new Set(), locked: new Set()};

/** Has somebody told when the daemon stops or begins to answer: since when it doesn't, or null. @param {(since: number | null) => void} listener */
export const onLost = (listener) => void state.told.add(listener);

/** Has somebody told when the page isn't open (any more). @param {() => void} listener */
export const onLocked = (listener) => void state.locked.add(listener);

/** Notes that the daemon answers, or doesn't. @param {boolean} answers */
export function note(answers) {
	const since = answers ? null : (state.since ?? Date.now());
	if (since === state.since) return;
	state.since = since;
	for (const listener of state.told) listener(since);
}

/**
 * Reads why an answer is none.
 * @param {Response} answer
 */
export async function refusal(answer) {
	let detail = `${answer.status} ${answer.statusText}`;
	try {
		detail = (await answer.json()).detail || detail;
	} catch {
		// not a problem of ours
	}
	if (answer.status === 401) for (const listener of state.locked) listener();
	return new Refusal(answer.status, detail);
}

/**
 * Asks for something.
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function ask(path, signal) {
	const limit = AbortSignal.timeout(patience);
	let answer;
	try {
		answer = await fetch(path, {signal: signal ? AbortSignal.any([signal, limit]) : limit, credentials: 'same-origin', redirect: 'error'});
		if (answer.ok) {
			const value = await answer.json();
			note(true);
			return value;
		}
	} catch (error) {
		if (signal?.aborted) throw error;
		note(false);
		throw new Unreachable('the daemon doesn’t answer; on the server: systemctl status wimcastd');
	}
	note(true);
	throw await refusal(answer);
}

/**
 * Asks for what a daemon may not have: null where it says so.
 * @param {string} path
 * @param {AbortSignal} [signal]
 */
export async function askMaybe(path, signal) {
	try {
		return await ask(path, signal);
	} catch (error) {
		if (error instanceof Refusal && (error.status === 404 || error.status === 409 || error.status === 422)) return null;
		throw error;
	}
}

/**
 * Sends something; the page knows two such requests, login and logout.
 * @param {string} path
 * @param {any} [body]
 */
export async function send(path, body) {
	const answer = await fetch(path, {
		method: 'POST', credentials: 'same-origin', redirect: 'error', headers: {'Content-Type': 'application/json'}, body: body === undefined ? undefined : JSON.stringify(body),
	});
	if (!answer.ok) throw await refusal(answer);
}
