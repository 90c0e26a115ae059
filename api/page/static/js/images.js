// The library: each package with its flags, its state, and where it is.

import {ask, askMaybe, Unreachable} from './ask.js';
import {badge} from './bar.js';
import {el, keep, put, set} from './dom.js';
import {every} from './every.js';
import {ago, bytes, count, date, exactly} from './human.js';
import {command, orEmpty, reachable, row, table} from './table.js';
import {ofPackage} from './words.js';

const lookEvery = 10_000; // ms

/**
 * @param {HTMLElement} main
 * @param {string[]} _
 * @param {AbortSignal} signal
 */
export function show(main, _, signal) {
	const into = el('div', {}, el('p', {class: 'loading'}, 'Looking …')), error = el('p', {class: 'error', role: 'alert', hidden: true});
	const list = table('Images of this distribution point', [
		{name: 'name', title: 'Image', sorts: false}, {name: 'state', title: 'State', sorts: false}, {name: 'size', title: 'Size', class: 'number', sorts: false},
		{name: 'flags', title: 'How it is cast', sorts: false}, {name: 'inside', title: 'Inside', sorts: false}, {name: 'rooms', title: 'Deployed to', sorts: false},
		{name: 'points', title: 'Distributed to', sorts: false}, {name: 'age', title: 'Added', sorts: false},
	]);
	main.append(el('h1', {}, 'Images'), error, into);
	every(lookEvery, signal, async () => {
		try {
			const [images, deployments, points] = await Promise.all([ask('/v1/images', signal), askMaybe('/v1/deployments', signal), askMaybe('/v1/points', signal)]);
			error.hidden = true;
			keep(list.body, images, (/** @type {any} */ i) => `${i.name}@${i.version}`, make, (element, i) => drawRow(element, i, deployments ?? [], points ?? []));
			reachable(list.body);
			orEmpty(into, el('div', {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Images'}, list.table), images.length === 0, 'No images yet: ', command('wimcast image add \'\\\\fs1\\img\\w11.wim\' --version 1'));
		} catch (problem) {
			if (signal.aborted || problem instanceof Unreachable) return;
			error.hidden = false;
			put(error, /** @type {Error} */ (problem).message);
		}
	});
	return 'Images';
}

/** @param {any} i */
function make(i) {
	const out = row(el('span', {}, el('strong', {}, i.name), el('span', {class: 'version'}, ` ${i.version}`), el('span', {class: 'block muted'})), '', '', '', '', '', '', '');
	set(out.children[2], 'class', 'number');
	return out;
}

/**
 * @param {any} element
 * @param {any} i
 * @param {any[]} deployments
 * @param {any[]} points
 */
function drawRow(element, i, deployments, points) {
	const [name, state, size, flags, inside, rooms, where, added] = element.children, ref = `${i.name}@${i.version}`;
	put(name.querySelector('.block'), i.comment ?? '');
	const is = i.out_of_service ? {word: 'out of service', sign: '✕', tone: /** @type {const} */ ('bad')} : {word: 'in service', sign: '✓', tone: /** @type {const} */ ('good')};
	if (state.dataset.is !== is.word + i.out_of_service) {
		state.dataset.is = is.word + i.out_of_service;
		state.replaceChildren(badge(is), el('span', {class: 'block muted'}, i.out_of_service ?? ''));
	}
	put(size, bytes(i.size_bytes));
	put(flags, [
		i.allow_multicast ? 'multicast (WinPE only)' : 'no multicast', i.encrypt ? 'encrypted' : 'not encrypted', i.multicast_only ? 'multicast only' : 'unicast where that fails',
	].join(', '));
	put(inside, `${count(i.images.length, 'image')}: ${i.images.map((/** @type {any} */ one) => one.display_name || one.name || `index ${one.index}`).join(', ')}${i.compression ? ` (${i.compression})` : ''}`);
	const used = deployments.filter((d) => d.package === ref || d.image === ref).map((d) => d.name);
	put(rooms, used.length ? used.join(', ') : 'nowhere');
	const at = points.flatMap((p) => p.packages.filter((/** @type {any} */ a) => a.package === ref).map((/** @type {any} */ a) => (a.state === 'success' ? p.name : `${p.name} (${ofPackage(a.state).word})`)));
	put(where, at.length ? at.join(', ') : 'this server alone');
	const text = `${ago(i.added)}${i.validated ? `, every byte checked ${ago(i.validated)}` : ''}`;
	put(added, text);
	set(added, 'title', `added ${exactly(i.added)}${i.validated ? `; checked ${date(i.validated)}` : ''}${i.source ? `; from ${i.source}` : ''}`);
}
