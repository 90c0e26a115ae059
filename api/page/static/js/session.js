// A session: how far it is, its pace and repair, who is slow and why, and every client with what it has.

import {speak} from './alarm.js';
import {badge, bar, drawBadge, drawBar} from './bar.js';
import {chart} from './chart.js';
import {clients} from './clients.js';
import {el, keep, put, set} from './dom.js';
import {bytes, clock, count, exactly, fine, percent, rate, time} from './human.js';
import {etaOf, reasonOf} from './rooms.js';
import {follow} from './stream.js';
import {ofCause, ofClient, ofSession} from './words.js';

const mostSamples = 601; // ten minutes at one a second
const mostSlow = 6;

/**
 * @typedef {{number: number, name: string, state: string, path: string, proven: number, rate_bytes_per_second: number, loss: number, cause?: string, reason?: string, map?: string}} Client
 */

/**
 * @param {HTMLElement} main
 * @param {string[]} args the session
 * @param {AbortSignal} signal
 */
export function show(main, [id], signal) {
	const room = el('h1', {}, id), state = badge(ofSession('casting')), what = el('p', {class: 'package'});
	const big = el('span', {class: 'big'}), eta = el('span', {class: 'eta'}), line = bar(), spread = el('p', {class: 'spread'});
	const alarm = el('p', {class: 'alarm', role: 'alert', hidden: true});
	const facts = el('dl', {class: 'facts'});
	const pace = chart(signal);
	const slow = el('ul', {class: 'slow'}), slowPart = el('section', {'aria-label': 'Slow clients', hidden: true}, el('h2', {}, 'Who is slow, and why'), slow);
	const table = clients(signal);
	const empty = el('p', {class: 'loading'}, 'Looking …');
	const rest = el('div', {hidden: true},
		el('section', {'aria-label': 'Progress', class: 'progress'}, el('p', {class: 'far'}, big, eta), line, spread), alarm, facts,
		el('section', {'aria-label': 'Pace'}, el('h2', {}, 'Rate and repair'), pace.element), slowPart,
		el('section', {'aria-label': 'Clients'}, el('h2', {}, 'Clients'), table.element));
	main.append(el('p', {class: 'back'}, el('a', {href: '#/rooms'}, '← Rooms')), el('header', {class: 'title'}, room, state), what, empty, rest);

	/** @type {Map<number, Client>} */
	const all = new Map();
	/** @type {any[]} */
	let samples = [];

	const over = new AbortController(); // once it has ended nothing comes any more
	void follow(`/v1/sessions/${encodeURIComponent(id)}/live`, {
		signal: AbortSignal.any([signal, over.signal]), each: (kind, live) => {
			if (kind === 'snapshot') {
				all.clear();
				samples = [];
			}
			for (const client of live.clients) {
				const before = all.get(client.number);
				if (!client.map && before?.map) client.map = before.map;
				all.set(client.number, client);
			}
			for (const number of live.gone ?? []) all.delete(number);
			samples = [...samples, ...live.samples].slice(-mostSamples);
			empty.hidden = true;
			rest.hidden = false;
			draw(live.session);
			table.update(live.cells, all, live.clients, live.gone ?? []);
			pace.draw(samples);
			if (live.session.ended) over.abort();
		},
		refused: (error) => {
			if (!rest.hidden) return; // it ended, and what is shown is its end
			set(empty, 'class', 'error');
			put(empty, error.message);
			empty.after(el('p', {}, 'What has ended is in the ', el('a', {href: '#/history'}, 'history'), '.'));
		},
	});

	/** @param {any} s */
	function draw(s) {
		const waits = s.state === 'waiting', list = [...all.values()];
		put(room, s.deployment || s.package);
		document.title = `${s.deployment || s.package} ${percent(s.progress)} – wimcast`;
		drawBadge(state, ofSession(s.ended ? 'ended' : s.state));
		put(what, [s.package, s.id, s.mode === 'clear' ? 'not encrypted' : 'encrypted', bytes(s.size_bytes), s.group ? `group ${s.group}` : 'no group', s.lane === 1 ? 'the slower session' : '', s.reason ?? ''].filter(Boolean).join(' · '));
		put(big, waits ? clock((new Date(s.start_deadline).getTime() - Date.now()) / 1000) : percent(s.progress));
		put(eta, waits ? `until it starts, at ${time(s.start_deadline)}${s.min_clients ? `, or with ${s.min_clients} clients (${s.waiting_clients ?? 0} are there)` : ''}` : etaOf(s));
		drawBar(line, s);
		put(spread, `slowest ${percent(s.progress)} · median ${percent(s.progress_median)} · fastest ${percent(s.progress_max)}`);
		alarm.hidden = !s.alarm;
		put(alarm, s.alarm ? `⚠ ${s.alarm}` : '');
		if (s.alarm) speak(s.alarm);
		const last = samples[samples.length - 1];
		drawFacts(facts, [
			['Rate', last ? rate(last.sent_bytes_per_second) : rate(0), `target ${rate(s.rate_bytes_per_second)}, ceiling ${rate(s.ceiling_bytes_per_second)}`],
			['Why', reasonOf(s), s.ended ? 'when it ended' : `round trip ${(1000 * s.grtt_seconds).toFixed(1)} ms`],
			['Repair', last ? fine(last.parity_ratio) : '0.0 %', `of what is sent now; ${fine(s.sent.parity_packets / Math.max(1, s.sent.source_packets))} since the start`],
			['Loss', last ? fine(last.loss) : '0.0 %', 'of what clients should have heard'],
			['Proven', last ? rate(last.proven_bytes_per_second) : rate(0), 'by all clients together'],
			['Running', clock(((s.ended ? new Date(s.ended) : new Date()).getTime() - new Date(s.started).getTime()) / 1000), `since ${time(s.started)}`],
		]);
		facts.title = exactly(s.started);
		drawSlow(list.filter((c) => c.cause && (c.state === 'receiving' || c.state === 'unicast' || c.state === 'demoted')).sort((a, b) => a.proven - b.proven));
	}

	/** @param {Client[]} list */
	function drawSlow(list) {
		slowPart.hidden = list.length === 0;
		const shown = list.slice(0, mostSlow);
		/** @type {(Client | number)[]} */
		const items = list.length > shown.length ? [...shown, list.length - shown.length] : shown;
		keep(slow, items, (c) => (typeof c === 'number' ? 'more' : c.number),
			(c) => (typeof c === 'number' ? el('li', {class: 'muted'}) : el('li', {}, el('strong', {}), badge(ofClient(c.state)), el('span', {}), el('span', {class: 'muted'}))),
			(element, c) => {
				if (typeof c === 'number') {
					put(element, `and ${count(c, 'more client')}, in the table below`);
					return;
				}
				put(element.children[0], c.name);
				drawBadge(element.children[1], ofClient(c.state));
				put(element.children[2], ofCause(c.cause ?? ''));
				put(element.children[3], c.reason ?? '');
			});
	}
	return id ?? 'Session';
}

/**
 * @param {HTMLElement} into
 * @param {[string, string, string][]} list
 */
export function drawFacts(into, list) {
	keep(into, list, ([name]) => name, ([name]) => el('div', {}, el('dt', {}, name), el('dd', {}), el('dd', {class: 'muted'})), (element, [, value, more]) => {
		put(element.children[1], value);
		set(element.children[1], 'class', value.length > 14 ? 'long' : null);
		put(element.children[2], more);
	});
}
