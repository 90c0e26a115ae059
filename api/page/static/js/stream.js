// Server-sent events by fetch: unlike an EventSource it says why a stream can't be had, and waits longer each time.

import {note, refusal, Refusal} from './ask.js';

const silence = 45_000; // ms; the daemon sends something every 15 s
const first = 1000, longest = 30_000; // ms until it is tried again

/**
 * Follows a stream until the signal says so, or it can't be had for good. It comes back by itself after a break.
 * @param {string} path
 * @param {{signal: AbortSignal, each: (kind: string, data: any) => void, refused?: (error: Refusal) => void}} to refused is told when the daemon says no, and that is the end
 */
export async function follow(path, {signal, each, refused}) {
	let wait = first, last = '';
	while (!signal.aborted) {
		const stop = new AbortController();
		let watchdog = setTimeout(() => stop.abort(), silence);
		try {
			const answer = await fetch(path, {
				signal: AbortSignal.any([signal, stop.signal]), credentials: 'same-origin', redirect: 'error', cache: 'no-store',
				headers: last ? {Accept: 'text/event-stream', 'Last-Event-ID': last} : {Accept: 'text/event-stream'},
			});
			note(true);
			if (!answer.ok || !answer.body) {
				const error = await refusal(answer);
				if (error.status < 500 && error.status !== 429) {
					refused?.(error);
					return;
				}
				throw error;
			}
			for await (const event of events(answer.body)) {
				clearTimeout(watchdog);
				watchdog = setTimeout(() => stop.abort(), silence);
				wait = first;
				if (event.id) last = event.id;
				if (event.data) each(event.kind, JSON.parse(event.data));
			}
		} catch (error) {
			if (signal.aborted) return;
			if (!(error instanceof Refusal)) note(false);
		} finally {
			clearTimeout(watchdog);
		}
		await pause(wait * (0.75 + Math.random() / 2), signal);
		wait = Math.min(2 * wait, longest);
	}
}

/**
 * Reads events (WHATWG HTML, section 9.2.6); the daemon's have one line of data each, and end lines with LF. A sign of life is an event without data.
 * @param {ReadableStream<Uint8Array>} body
 */
async function* events(body) {
	const reader = body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = '';
	try {
		for (;;) {
			const {value, done} = await reader.read();
			if (done) return;
			rest += value;
			let end;
			while ((end = rest.indexOf('\n\n')) >= 0) {
				const event = {kind: '', data: '', id: ''};
				for (const line of rest.slice(0, end).split('\n')) {
					const colon = line.indexOf(': ');
					if (colon <= 0) continue;
					const field = line.slice(0, colon), text = line.slice(colon + 2);
					if (field === 'event') event.kind = text;
					else if (field === 'data') event.data += text;
					else if (field === 'id') event.id = text;
				}
				rest = rest.slice(end + 2);
				yield event;
			}
		}
	} finally {
		reader.cancel().catch(() => {});
	}
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 */
export function pause(ms, signal) {
	return new Promise((/** @type {(value?: any) => void} */ resolve) => {
		const timer = setTimeout(resolve, ms);
		signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, {once: true});
	});
}
