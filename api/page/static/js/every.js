// Looking again and again, while somebody looks.

import {pause} from './stream.js';

/**
 * Calls look now and so long after each end of it, until the signal says so; not while the page isn't seen. It returns a function that has it
 * look soon.
 * @param {number} ms
 * @param {AbortSignal} signal
 * @param {() => Promise<void>} look
 */
export function every(ms, signal, look) {
	let soon = new AbortController();
	const again = async () => {
		while (!signal.aborted) {
			soon = new AbortController();
			if (document.visibilityState !== 'hidden') await look();
			await pause(ms, AbortSignal.any([signal, soon.signal]));
		}
	};
	document.addEventListener('visibilitychange', () => soon.abort(), {signal});
	void again();
	return () => { setTimeout(() => soon.abort(), 200); };
}
