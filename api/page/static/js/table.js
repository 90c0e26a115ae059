// Real tables that are gone through by arrow keys.

import {el, put, set} from './dom.js';

/**
 * @typedef {{name: string, title: string, class?: string, sorts?: boolean, says?: string}} Column
 */

/**
 * Makes a table with a caption; sorted is called when a heading is pressed.
 * @param {string} caption
 * @param {Column[]} columns
 * @param {(column: string) => void} [sorted]
 * @returns {{table: HTMLTableElement, body: HTMLTableSectionElement, heads: Map<string, HTMLElement>}}
 */
export function table(caption, columns, sorted) {
	const heads = new Map();
	const row = el('tr');
	for (const column of columns) {
		const head = el('th', {scope: 'col', class: column.class, title: column.says});
		if (sorted && column.sorts !== false) head.append(el('button', {type: 'button', class: 'sort', on: {click: () => sorted(column.name)}}, column.title));
		else head.append(column.title);
		heads.set(column.name, head);
		row.append(head);
	}
	const body = el('tbody');
	const out = el('table', {}, el('caption', {class: 'unseen'}, caption), el('thead', {}, row), body);
	walk(body);
	return {table: out, body, heads};
}

/**
 * Says at the headings what a table is sorted by.
 * @param {Map<string, HTMLElement>} heads
 * @param {string} by
 * @param {boolean} down
 */
export function markSorted(heads, by, down) {
	for (const [name, head] of heads) set(head, 'aria-sort', name === by ? (down ? 'descending' : 'ascending') : null);
}

/**
 * Has the arrow keys go from row to row: one row of a table is in the order of Tab, the one that was looked at last. Enter follows its link.
 * @param {HTMLTableSectionElement} body
 */
function walk(body) {
	body.addEventListener('keydown', (event) => {
		const row = /** @type {HTMLElement} */ (event.target).closest('tr');
		if (!row || event.ctrlKey || event.altKey || event.metaKey) return;
		const rows = /** @type {HTMLElement[]} */ ([...body.rows]).filter((r) => !r.hidden);
		const at = rows.indexOf(row);
		/** @type {Record<string, number>} */
		const to = {ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 10, PageUp: at - 10, Home: 0, End: rows.length - 1};
		if (event.key === 'Enter' && event.target === row) {
			row.querySelector('a')?.click();
		} else if (event.key in to) {
			rows[Math.max(0, Math.min(rows.length - 1, to[event.key]))]?.focus();
		} else {
			return;
		}
		event.preventDefault();
	});
	body.addEventListener('focusin', (event) => {
		const row = /** @type {HTMLElement} */ (event.target).closest('tr');
		for (const other of body.querySelectorAll('tr[tabindex="0"]')) if (other !== row) other.setAttribute('tabindex', '-1');
		row?.setAttribute('tabindex', '0');
	});
}

/**
 * Makes the first row the one that is reached by Tab, once rows have come, gone or changed places; not while somebody stands on one.
 * @param {HTMLTableSectionElement} body
 */
export function reachable(body) {
	if (body.contains(document.activeElement)) return;
	const first = body.querySelector('tr:not([hidden])');
	for (const other of body.querySelectorAll('tr[tabindex="0"]')) if (other !== first) other.setAttribute('tabindex', '-1');
	if (first) set(first, 'tabindex', '0');
}

/**
 * Makes a row of cells; the first is the row's heading.
 * @param {...(import('./dom.js').Child)} cells
 */
export function row(...cells) {
	return el('tr', {tabindex: '-1'}, ...cells.map((cell, i) => el(i === 0 ? 'th' : 'td', i === 0 ? {scope: 'row'} : {}, cell)));
}

/**
 * Shows a table, or what to do where it would be empty.
 * @param {Element} into
 * @param {Element} shown
 * @param {boolean} empty
 * @param {...(import('./dom.js').Child)} says
 */
export function orEmpty(into, shown, empty, ...says) {
	if (!empty) {
		if (into.firstChild !== shown) into.replaceChildren(shown);
		return;
	}
	into.replaceChildren(el('p', {class: 'empty'}, ...says));
}

/** A command to type. @param {string} text */
export const command = (text) => el('code', {class: 'command'}, text);

export {put};
