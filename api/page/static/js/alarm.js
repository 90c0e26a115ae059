// What somebody should look at, seen and heard.

import {put} from './dom.js';

const spoken = new Set();

/** Has screen readers say an alarm, each once. @param {string} text */
export function speak(text) {
	if (spoken.has(text)) return;
	spoken.add(text);
	if (spoken.size > 200) spoken.clear();
	const live = document.getElementById('alarm');
	if (live) put(live, text);
}
