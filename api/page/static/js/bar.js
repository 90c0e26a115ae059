// How far a room is: the slowest, the median and the fastest client in one bar.

import {el, put, set} from './dom.js';
import {percent} from './human.js';

/** Makes a bar. */
export function bar() {
	const most = el('div', {class: 'most'}), median = el('div', {class: 'median'}), least = el('div', {class: 'least'});
	return el('div', {class: 'bar', role: 'img'}, most, median, least);
}

/**
 * Draws it.
 * @param {HTMLElement} element of bar
 * @param {{progress: number, progress_median: number, progress_max: number}} s
 */
export function drawBar(element, s) {
	const [most, median, least] = /** @type {HTMLElement[]} */ ([...element.children]);
	const width = (/** @type {HTMLElement} */ part, /** @type {number} */ share) => {
		const value = `${(100 * Math.min(1, share)).toFixed(2)}%`;
		if (part.style.width !== value) part.style.width = value;
	};
	width(most, s.progress_max);
	width(median, s.progress_median);
	width(least, s.progress);
	set(element, 'aria-label', `slowest ${percent(s.progress)}, median ${percent(s.progress_median)}, fastest ${percent(s.progress_max)}`);
}

/**
 * A state: its sign and its word.
 * @param {import('./words.js').Meaning} meaning
 */
export function badge(meaning) {
	return el('span', {class: `state ${meaning.tone}`}, el('span', {class: 'sign', 'aria-hidden': 'true'}, meaning.sign), el('span', {}, meaning.word));
}

/**
 * Has a badge say something else.
 * @param {Element} element
 * @param {import('./words.js').Meaning} meaning
 */
export function drawBadge(element, meaning) {
	set(element, 'class', `state ${meaning.tone}`);
	put(element.children[0], meaning.sign);
	put(element.children[1], meaning.word);
}
