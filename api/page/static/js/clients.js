// The table of a session's clients. It may have 500 rows, each with a strip that changes every second: only rows that are seen are drawn,
// each time, and only what has changed in them; the others follow a few at a time.

import {badge, drawBadge} from './bar.js';
import {el, put, set} from './dom.js';
import {count, fine, percent, rate} from './human.js';
import {draw, readColours, unpack} from './strip.js';
import {markSorted, reachable, row, table} from './table.js';
import {bad, clientStates, ofCause, ofClient} from './words.js';

const rowsPerFrame = 40; // new rows
const unseenPerFrame = 20; // rows that aren't in sight, for those who don't go by sight
const orderEvery = 3000; // ms between two looks at the order: rows that jump can't be read

/** @typedef {import('./session.js').Client} Client */
/** @typedef {{client: Client, row: HTMLTableRowElement, canvas: HTMLCanvasElement, seen: boolean, dirty: boolean, map: Uint8Array | null, mapText: string}} Line */

/** How pressing a client is: failed ones, slow ones, those under way by what they lack, then those that are done. @param {Client} c */
function pressing(c) {
	if (bad(c.state)) return 0;
	if (c.cause && c.state !== 'proven') return 1 + c.proven / 2;
	if (c.state === 'proven' || c.state === 'left') return 4;
	return 2 + Math.floor(20 * c.proven) / 20; // by steps, so that rows don't change places all the time
}

/** @type {Record<string, (a: Client, b: Client) => number>} */
const orders = {
	pressing: (a, b) => pressing(a) - pressing(b),
	name: (a, b) => collate(a.name, b.name),
	state: (a, b) => clientStates.indexOf(a.state) - clientStates.indexOf(b.state),
	proven: (a, b) => a.proven - b.proven,
	rate: (a, b) => a.rate_bytes_per_second - b.rate_bytes_per_second,
	loss: (a, b) => a.loss - b.loss,
};
const collate = new Intl.Collator(undefined, {numeric: true}).compare;

/**
 * Makes the table.
 * @param {AbortSignal} signal
 */
export function clients(signal) {
	let by = 'pressing', down = false, cells = 256;
	/** @type {Map<number, Line>} */
	const lines = new Map();
	/** @type {Map<number, Client>} */
	let everybody = new Map();
	/** @type {Set<number>} */
	const fresh = new Set();
	let asked = 0, ordered = 0, wanted = true;

	const {table: element, body, heads} = table('Clients of this session', [
		{name: 'name', title: 'Client'}, {name: 'state', title: 'State'},
		{name: 'map', title: 'What it has', class: 'strip', sorts: false, says: 'The image from its first block to its last; dark is what is proven'},
		{name: 'proven', title: 'Proven', class: 'number'}, {name: 'rate', title: 'Takes', class: 'number'}, {name: 'loss', title: 'Loss', class: 'number'},
		{name: 'pressing', title: 'Why'},
	], (column) => {
		down = column === by ? !down : column === 'rate' || column === 'loss';
		by = column;
		markSorted(heads, by, down);
		wanted = true;
		ask();
	});
	element.className = 'clients';
	markSorted(heads, by, down);

	const find = /** @type {HTMLInputElement} */ (el('input', {type: 'search', id: 'find-client', autocomplete: 'off', spellcheck: 'false', placeholder: 'name, or words of why', on: {input: () => { wanted = true; ask(); }}}));
	const only = /** @type {HTMLSelectElement} */ (el('select', {id: 'only-state', on: {change: () => { wanted = true; ask(); }}}, el('option', {value: ''}, 'all'), el('option', {value: 'slow'}, 'slow'),
		...clientStates.filter((s) => s !== 'interrupted').map((s) => el('option', {value: s}, ofClient(s).word))));
	const told = el('p', {class: 'muted', role: 'status'});
	const outer = el('div', {},
		el('form', {class: 'filter', role: 'search', on: {submit: (/** @type {Event} */ e) => e.preventDefault()}},
			el('label', {for: 'find-client'}, 'Find'), find, el('label', {for: 'only-state'}, 'Show'), only, told),
		el('div', {class: 'scroll'}, element));

	const watch = new IntersectionObserver((entries) => {
		for (const entry of entries) {
			const line = lines.get(Number(/** @type {HTMLElement} */ (entry.target).dataset.number));
			if (line) line.seen = entry.isIntersecting;
		}
		ask();
	}, {rootMargin: '200px'});
	signal.addEventListener('abort', () => watch.disconnect());
	readColours();
	matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
		readColours();
		for (const line of lines.values()) line.dirty = true;
		ask();
	}, {signal});

	/** Draws in the next frame. */
	function ask() {
		if (!asked && !signal.aborted) asked = requestAnimationFrame(frame);
	}

	/** @param {number} now */
	function frame(now) {
		asked = 0;
		let room = rowsPerFrame;
		for (const number of fresh) {
			if (room-- === 0) break;
			fresh.delete(number);
			const client = everybody.get(number);
			if (client) add(client);
		}
		if (fresh.size > 0) ask();
		let unseen = unseenPerFrame;
		for (const line of lines.values()) {
			if (!line.dirty || line.row.hidden) continue;
			if (line.seen || unseen-- > 0) drawLine(line);
		}
		// A row that somebody reads or stands on stays where it is.
		const busy = body.contains(document.activeElement) || body.matches(':hover');
		if ((wanted || (!busy && now - ordered > orderEvery)) && fresh.size === 0) {
			wanted = false;
			ordered = now;
			order();
		}
	}

	/** @param {Client} client */
	function add(client) {
		if (lines.has(client.number)) return;
		const canvas = /** @type {HTMLCanvasElement} */ (el('canvas', {role: 'img', width: 256, height: 1}));
		const made = /** @type {HTMLTableRowElement} */ (row('', badge(ofClient(client.state)), canvas, '', '', '', ''));
		['name', 'is', 'strip', 'number', 'number', 'number', 'why'].forEach((name, i) => { made.cells[i].className = name; });
		made.dataset.number = String(client.number);
		put(made.cells[0], client.name);
		made.cells[0].title = client.name;
		const line = {client, row: made, canvas, seen: false, dirty: true, map: null, mapText: ''};
		lines.set(client.number, line);
		body.append(made);
		watch.observe(made);
		wanted = true;
	}

	/** @param {Line} line */
	function drawLine(line) {
		const c = line.client, [name, state, , proven, takes, loss, why] = line.row.cells;
		line.dirty = false;
		if (c.map && c.map !== line.mapText) {
			line.map = unpack(c.map, cells);
			line.mapText = c.map;
		}
		draw(line.canvas, line.map, c.proven);
		put(name, c.name);
		drawBadge(/** @type {Element} */ (state.firstElementChild), ofClient(c.state));
		put(proven, percent(c.proven));
		put(takes, c.state === 'proven' ? '' : rate(c.rate_bytes_per_second));
		put(loss, fine(c.loss));
		const text = [c.cause && c.state !== 'proven' ? ofCause(c.cause) : '', c.reason ?? ''].filter(Boolean).join(': ');
		put(why, text);
		set(why, 'title', text || null);
		set(line.row, 'class', bad(c.state) ? 'bad' : c.cause && c.state !== 'proven' ? 'slow' : null);
	}

	/** Puts the rows in their order, and hides those that aren't asked for. Only rows that are out of order are moved. */
	function order() {
		const words = find.value.trim().toLowerCase(), state = only.value;
		const compare = orders[by], sign = down ? -1 : 1;
		const list = [...lines.values()].sort((a, b) => sign * compare(a.client, b.client) || collate(a.client.name, b.client.name) || a.client.number - b.client.number);
		let shown = 0;
		/** @type {Element | null} */
		let at = body.firstElementChild;
		for (const line of list) {
			const c = line.client;
			const fits = (!state || (state === 'slow' ? Boolean(c.cause) && c.state !== 'proven' : c.state === state)) && (!words || `${c.name} ${c.state} ${c.cause ?? ''} ${c.reason ?? ''}`.toLowerCase().includes(words));
			if (line.row.hidden === fits) line.row.hidden = !fits;
			if (fits) shown++;
			if (line.row === at) at = at.nextElementSibling;
			else body.insertBefore(line.row, at);
		}
		put(told, shown === list.length ? count(shown, 'client') : `${shown} of ${count(list.length, 'client')}`);
		reachable(body);
	}

	return {
		element: outer,
		/**
		 * @param {number} cellsNow
		 * @param {Map<number, Client>} all
		 * @param {Client[]} changed
		 * @param {number[]} gone
		 */
		update(cellsNow, all, changed, gone) {
			cells = cellsNow;
			everybody = all;
			for (const client of changed) {
				const line = lines.get(client.number);
				if (line) {
					line.client = client;
					line.dirty = true;
				} else {
					fresh.add(client.number);
				}
			}
			for (const [number, line] of lines) {
				if (all.has(number)) continue;
				watch.unobserve(line.row);
				line.row.remove();
				lines.delete(number);
				wanted = true;
			}
			if (gone.length > 0) wanted = true;
			ask();
		},
	};
}
