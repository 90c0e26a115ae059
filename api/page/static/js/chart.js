// The last ten minutes of a session: its rate against the target, what decided it, and repair below.

import {el, set} from './dom.js';
import {fine, rate, time} from './human.js';

const span = 600_000; // ms
const left = 64, right = 10, top = 8, between = 20, band = 14, axis = 20; // px

/**
 * @typedef {{time: string, sent_bytes_per_second: number, target_bytes_per_second: number, rate_reason: string, parity_ratio: number, loss: number}} Sample
 */

/**
 * Makes a chart. Its draw takes what is shown.
 * @param {AbortSignal} signal
 */
export function chart(signal) {
	const canvas = /** @type {HTMLCanvasElement} */ (el('canvas', {class: 'chart', role: 'img', 'aria-label': 'nothing is known yet'}));
	const readout = el('p', {class: 'readout', 'aria-hidden': 'true'});
	const element = el('figure', {class: 'pace-chart'},
		el('figcaption', {},
			el('span', {class: 'key rate'}, 'rate'), el('span', {class: 'key target'}, 'target'), el('span', {class: 'key repair'}, 'repair, share of what is sent'), el('span', {class: 'key loss'}, 'loss'), readout),
		canvas);
	/** @type {Sample[]} */
	let samples = [];
	/** @type {number | null} */
	let pointed = null;
	let asked = 0;
	const redraw = () => {
		if (asked) return;
		asked = requestAnimationFrame(() => { asked = 0; paint(canvas, samples, pointed, readout); });
	};
	const watch = new ResizeObserver(redraw);
	watch.observe(canvas);
	signal.addEventListener('abort', () => watch.disconnect());
	matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw, {signal});
	canvas.addEventListener('pointermove', (event) => { pointed = event.offsetX; redraw(); });
	canvas.addEventListener('pointerleave', () => { pointed = null; redraw(); });
	return {element, draw: (/** @type {Sample[]} */ list) => { samples = list; redraw(); }};
}

/** A round number at or above n. @param {number} n */
function round(n) {
	if (n <= 0) return 1;
	const unit = 10 ** Math.floor(Math.log10(n));
	return unit * (/** @type {number} */ ([1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((m) => m * unit >= n)));
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Sample[]} samples
 * @param {number | null} pointed px from the left
 * @param {HTMLElement} readout
 */
function paint(canvas, samples, pointed, readout) {
	const density = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
	if (width === 0) return;
	if (canvas.width !== Math.round(width * density) || canvas.height !== Math.round(height * density)) {
		canvas.width = Math.round(width * density);
		canvas.height = Math.round(height * density);
	}
	const c = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
	c.setTransform(density, 0, 0, density, 0, 0);
	c.clearRect(0, 0, width, height);
	const style = getComputedStyle(canvas), colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
	c.font = `12px ${style.fontFamily}`;
	const end = samples.length ? new Date(samples[samples.length - 1].time).getTime() : Date.now();
	const x = (/** @type {number} */ at) => left + (width - left - right) * (1 - (end - at) / span);
	const at = samples.map((s) => x(new Date(s.time).getTime()));
	const lower = Math.max(40, Math.round((height - top - band - between - axis) * 0.26));
	const upper = height - top - band - 6 - between - lower - axis;
	const most = round(Math.max(1e5, ...samples.map((s) => Math.max(s.sent_bytes_per_second, s.target_bytes_per_second))));
	const mostRepair = Math.max(0.05, round(Math.max(...samples.map((s) => Math.max(s.parity_ratio, s.loss)), 0)));
	const y = (/** @type {number} */ v) => top + upper * (1 - Math.min(1, v / most));
	const floor = top + upper + 6 + band + between, z = (/** @type {number} */ v) => floor + lower * (1 - Math.min(1, v / mostRepair));

	// Lines to read by.
	c.textAlign = 'right';
	c.textBaseline = 'middle';
	for (const part of [0, 0.5, 1]) {
		line(c, colour('--line'), left, y(part * most), width - right, y(part * most));
		c.fillStyle = colour('--muted');
		c.fillText(part ? rate(part * most) : '0', left - 6, y(part * most) + (part === 1 ? 4 : 0));
	}
	for (const part of [0, 1]) {
		line(c, colour('--line'), left, z(part * mostRepair), width - right, z(part * mostRepair));
		c.fillStyle = colour('--muted');
		c.fillText(fine(part * mostRepair), left - 6, z(part * mostRepair));
	}
	c.textBaseline = 'alphabetic';
	for (let minutes = 0; minutes <= 10; minutes += width < 520 ? 5 : 2) {
		c.textAlign = minutes === 0 ? 'right' : minutes === 10 ? 'left' : 'center';
		c.fillText(minutes === 0 ? time(end) : `−${minutes} min`, x(end - minutes * 60_000), height - 4);
	}
	if (samples.length === 0) return;

	area(c, colour('--chart-rate-area'), at, samples.map((s) => y(s.sent_bytes_per_second)), y(0));
	path(c, colour('--chart-rate'), 2, [], at, samples.map((s) => y(s.sent_bytes_per_second)));
	path(c, colour('--chart-target'), 1.5, [5, 3], at, samples.map((s) => y(s.target_bytes_per_second)));
	area(c, colour('--chart-repair-area'), at, samples.map((s) => z(s.parity_ratio)), z(0));
	path(c, colour('--chart-repair'), 1.5, [], at, samples.map((s) => z(s.parity_ratio)));
	path(c, colour('--chart-loss'), 1.5, [2, 2], at, samples.map((s) => z(s.loss)));

	// What decided the target, as a band with its word where that fits.
	c.textAlign = 'left';
	c.textBaseline = 'middle';
	for (let i = 0; i < samples.length;) {
		let j = i + 1;
		while (j < samples.length && samples[j].rate_reason === samples[i].rate_reason) j++;
		const from = at[i], to = j < samples.length ? at[j] : at[j - 1], held = samples[i].rate_reason;
		c.fillStyle = colour(held === 'loss' || held === 'receive_buffer' || held === 'delay' ? '--band-held' : held === 'ceiling' ? '--band-ceiling' : '--band-free');
		c.fillRect(from, top + upper + 6, Math.max(1, to - from - 1), band);
		const word = held.replace('_', ' ');
		if (held && c.measureText(word).width + 8 < to - from) {
			c.fillStyle = colour('--band-ink');
			c.fillText(word, from + 4, top + upper + 6 + band / 2 + 0.5);
		}
		i = j;
	}
	const last = samples[samples.length - 1];
	let shown = last;
	if (pointed !== null) {
		let nearest = 0;
		at.forEach((v, i) => { if (Math.abs(v - /** @type {number} */ (pointed)) < Math.abs(at[nearest] - /** @type {number} */ (pointed))) nearest = i; });
		shown = samples[nearest];
		line(c, colour('--muted'), at[nearest], top, at[nearest], height - axis);
	}
	readout.textContent = `${time(shown.time)}  ${rate(shown.sent_bytes_per_second)} of ${rate(shown.target_bytes_per_second)}, ${shown.rate_reason.replace('_', ' ')}; repair ${fine(shown.parity_ratio)}, loss ${fine(shown.loss)}`;
	const rates = samples.map((s) => s.sent_bytes_per_second);
	set(canvas, 'aria-label', `rate over the last ${Math.max(1, Math.round((end - new Date(samples[0].time).getTime()) / 60_000))} min: now ${rate(last.sent_bytes_per_second)} of ${rate(last.target_bytes_per_second)} (${last.rate_reason.replace('_', ' ')}), most ${rate(Math.max(...rates))}; repair now ${fine(last.parity_ratio)}, most ${fine(Math.max(...samples.map((s) => s.parity_ratio)))}; loss now ${fine(last.loss)}`);
}

/**
 * @param {CanvasRenderingContext2D} c
 * @param {string} colour
 * @param {number} x1 @param {number} y1 @param {number} x2 @param {number} y2
 */
function line(c, colour, x1, y1, x2, y2) {
	c.strokeStyle = colour;
	c.lineWidth = 1;
	c.setLineDash([]);
	c.beginPath();
	c.moveTo(x1, Math.round(y1) + 0.5);
	c.lineTo(x2, Math.round(y2) + 0.5);
	c.stroke();
}

/**
 * @param {CanvasRenderingContext2D} c
 * @param {string} colour
 * @param {number} width
 * @param {number[]} dash
 * @param {number[]} xs @param {number[]} ys
 */
function path(c, colour, width, dash, xs, ys) {
	c.strokeStyle = colour;
	c.lineWidth = width;
	c.lineJoin = 'round';
	c.setLineDash(dash);
	c.beginPath();
	xs.forEach((x, i) => (i ? c.lineTo(x, ys[i]) : c.moveTo(x, ys[i])));
	c.stroke();
	c.setLineDash([]);
}

/**
 * @param {CanvasRenderingContext2D} c
 * @param {string} colour
 * @param {number[]} xs @param {number[]} ys
 * @param {number} base
 */
function area(c, colour, xs, ys, base) {
	c.fillStyle = colour;
	c.beginPath();
	c.moveTo(xs[0], base);
	xs.forEach((x, i) => c.lineTo(x, ys[i]));
	c.lineTo(xs[xs.length - 1], base);
	c.fill();
}
