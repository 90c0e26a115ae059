// Rooms at a glance: what casts, what waits, who waits for a place, what somebody should look at, and what ended lately.

import {speak} from './alarm.js';
import {ask, askMaybe, Refusal, Unreachable} from './ask.js';
import {bar, badge, drawBadge, drawBar} from './bar.js';
import {el, keep, put, set} from './dom.js';
import {every} from './every.js';
import {ago, clock, count, exactly, percent, rate, time} from './human.js';
import {follow} from './stream.js';
import {command, reachable, row, table} from './table.js';
import {clientStates, ofClient, ofRate, ofSession} from './words.js';

const lookEvery = 2000, doctorEvery = 60_000; // ms
const mostAlarms = 12, mostEnded = 10;

/**
 * @param {HTMLElement} main
 * @param {string[]} _
 * @param {AbortSignal} signal
 */
export function show(main, _, signal) {
	const figures = el('dl', {class: 'figures'});
	const alarms = el('ul', {class: 'alarms'}), alarmPart = el('section', {'aria-label': 'Alarms', hidden: true}, el('h2', {}, 'Somebody should look'), alarms);
	const cards = el('div', {class: 'cards'}), none = el('div', {});
	const queue = queueTable(), queuePart = el('section', {'aria-label': 'Queue', hidden: true}, el('h2', {}, 'Waiting for a place'), queue.table);
	const ended = endedTable(), endedPart = el('section', {'aria-label': 'Ended lately', hidden: true}, el('h2', {}, 'Ended lately'), ended.table);
	main.append(el('h1', {class: 'unseen'}, 'Rooms'), figures, alarmPart, el('section', {'aria-label': 'Running sessions', class: 'running'}, cards, none), queuePart, endedPart);

	/** @type {Map<string, {text: string, at?: string, session?: string}>} */
	const heard = new Map();
	/** @type {{text: string, session?: string, at?: string}[]} */
	let found = [];
	/** @type {any[]} */
	let sessions = [];

	const drawAlarms = () => {
		const all = sessions.filter((s) => s.alarm && !s.ended).map((s) => ({text: s.alarm, session: s.id, room: roomOf(s)}));
		const seen = new Set(all.map((a) => a.text));
		const list = [...all, ...[...heard.values()].reverse().filter((a) => !seen.has(a.text)), ...found].slice(0, mostAlarms);
		for (const alarm of list) speak(alarm.text);
		alarmPart.hidden = list.length === 0;
		keep(alarms, list, (a) => a.text, (a) => el('li', {}, el('span', {class: 'sign', 'aria-hidden': 'true'}, '⚠'), el('span', {}, sentence(a.text)), el('span', {class: 'muted'})),
			(element, a) => put(element.lastChild, [a.room ?? a.session, a.at ? ago(a.at) : ''].filter(Boolean).join(', ')));
		return list.length;
	};

	const look = async () => {
		try {
			const [list, waiting] = await Promise.all([ask('/v1/sessions?clients=false', signal), ask('/v1/queue', signal)]);
			sessions = list;
			const running = list.filter((/** @type {any} */ s) => !s.ended), over = list.filter((/** @type {any} */ s) => s.ended).reverse();
			running.sort(byUrgency);
			keep(cards, running, (s) => s.id, card, drawCard);
			drawFigures(figures, running, waiting, drawAlarms());
			drawQueue(queue, waiting);
			queuePart.hidden = waiting.length === 0;
			drawEnded(ended, over.slice(0, mostEnded));
			endedPart.hidden = over.length === 0;
			if (running.length > 0) none.replaceChildren();
			else if (!none.firstChild || none.dataset.ended !== String(over.length > 0)) {
				none.dataset.ended = String(over.length > 0);
				none.replaceChildren(...await nothingRuns(signal));
			}
		} catch (error) {
			if (signal.aborted || error instanceof Unreachable) return;
			none.replaceChildren(el('p', {class: 'error', role: 'alert'}, /** @type {Error} */ (error).message));
		}
	};
	const soon = every(lookEvery, signal, look);
	every(doctorEvery, signal, async () => {
		try {
			const doctor = await ask('/v1/doctor', signal);
			found = doctor.findings.filter((/** @type {any} */ f) => f.state === 'fail').map((/** @type {any} */ f) => ({text: f.next ? `${f.text}; ${f.next}` : f.text, session: `doctor: ${f.check}`}));
			drawAlarms();
		} catch {
			// the rooms say that the daemon is gone
		}
	});
	void follow('/v1/events', {
		signal, each: (kind, event) => {
			if (kind === 'alarm') {
				heard.delete(event.text);
				heard.set(event.text, {text: event.text, at: event.time, session: event.session});
				if (heard.size > mostAlarms) heard.delete(heard.keys().next().value ?? '');
				drawAlarms();
			}
			if (!kind.startsWith('client_')) soon();
		},
	});
	return 'Rooms';
}

/** What a session is called in front of people. @param {any} s */
const roomOf = (s) => s.deployment || s.package;

/** Those with alarms first, then those that cast, the oldest first. @param {any} a @param {any} b */
function byUrgency(a, b) {
	const rank = (/** @type {any} */ s) => (s.alarm ? 0 : s.state === 'waiting' ? 2 : 1);
	return rank(a) - rank(b) || (a.started < b.started ? -1 : 1);
}

/** @param {string} text */
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.');

/**
 * The big figures that are read from across the room.
 * @param {HTMLElement} into
 * @param {any[]} running
 * @param {any[]} waiting
 * @param {number} alarms
 */
function drawFigures(into, running, waiting, alarms) {
	/** @type {Record<string, number>} */
	const states = {};
	for (const s of running) for (const [state, n] of Object.entries(s.client_states)) states[state] = (states[state] ?? 0) + Number(n);
	const casting = running.filter((s) => s.state !== 'waiting').length;
	const bad = (states.failed ?? 0) + (states.lost ?? 0) + (states.dropped ?? 0) + (states.evicted ?? 0);
	const list = [
		{name: casting === 1 ? 'room casting' : 'rooms casting', value: casting, tone: casting ? 'live' : ''},
		{name: 'receiving', value: (states.receiving ?? 0) + (states.unicast ?? 0), tone: states.receiving ? 'live' : ''},
		{name: 'proven', value: states.proven ?? 0, tone: states.proven ? 'good' : ''},
		{name: 'waiting', value: running.reduce((n, s) => n + (s.waiting_clients ?? 0), 0) + waiting.length, tone: ''},
		{name: 'failed', value: bad, tone: bad ? 'bad' : ''},
		{name: alarms === 1 ? 'alarm' : 'alarms', value: alarms, tone: alarms ? 'bad' : ''},
	];
	keep(into, list, (f) => list.indexOf(f), () => el('div', {}, el('dt', {}), el('dd', {})), (element, f) => {
		put(element.children[0], f.name);
		put(element.children[1], f.value);
		set(element, 'class', f.tone);
	});
}

/** @param {any} s */
function card(s) {
	const room = el('a', {class: 'room', href: `#/session/${encodeURIComponent(s.id)}`});
	return el('article', {class: 'card'},
		el('header', {}, el('h2', {}, room), badge(ofSession(s.state))),
		el('p', {class: 'package'}),
		el('p', {class: 'far'}, el('span', {class: 'big'}), el('span', {class: 'eta'})),
		bar(),
		el('p', {class: 'spread'}),
		el('p', {class: 'pace'}, el('strong', {}), el('span', {})),
		el('ul', {class: 'counts'}),
		el('p', {class: 'alarm', hidden: true}));
}

/**
 * @param {HTMLElement} element
 * @param {any} s
 */
function drawCard(element, s) {
	const [header, pack, far, line, spread, pace, counts, alarm] = /** @type {HTMLElement[]} */ ([...element.children]);
	const waits = s.state === 'waiting';
	set(element, 'class', `card${s.alarm ? ' alarmed' : ''}${waits ? ' waits' : ''}`);
	put(header.children[0].children[0], roomOf(s));
	drawBadge(header.children[1], ofSession(s.state));
	put(pack, [s.deployment ? s.package : '', s.id, laneOf(s), s.mode === 'clear' ? 'not encrypted' : ''].filter(Boolean).join(' · '));
	put(far.children[0], waits ? clock((new Date(s.start_deadline).getTime() - Date.now()) / 1000) : percent(s.progress));
	put(far.children[1], waits ? `until it starts, at ${time(s.start_deadline)}` : etaOf(s));
	line.hidden = spread.hidden = waits;
	drawBar(line, s);
	put(spread, `slowest ${percent(s.progress)} · median ${percent(s.progress_median)} · fastest ${percent(s.progress_max)}`);
	put(pace.children[0], waits ? (s.min_clients ? `${s.waiting_clients ?? 0} of ${s.min_clients} clients` : count(s.waiting_clients ?? 0, 'client')) : rate(s.rate_bytes_per_second));
	put(pace.children[1], waits ? (s.min_clients ? 'are there; it starts sooner when all are' : 'are there') : reasonOf(s));
	drawCounts(counts, s.client_states);
	alarm.hidden = !s.alarm;
	put(alarm, s.alarm ? `⚠ ${sentence(s.alarm)}` : '');
}

/** @param {any} s */
const laneOf = (s) => (s.lane === 1 ? 'slower session' : s.lane === 2 ? 'unicast alone' : '');

/** When the slowest client is done. @param {any} s */
export function etaOf(s) {
	if (s.ended) return `ended ${time(s.ended)}`;
	if (s.rate_bytes_per_second <= 0 || s.progress >= 1) return 'of the slowest client';
	return `${clock((1 - s.progress) * s.size_bytes / s.rate_bytes_per_second)} left`;
}

/** What decides the rate. @param {any} s */
export function reasonOf(s) {
	const by = s.limiting_client && (s.rate_reason === 'loss' || s.rate_reason === 'receive_buffer' || s.rate_reason === 'delay') ? ` (${s.limiting_client})` : '';
	return ofRate(s.rate_reason) + by;
}

/**
 * Clients by state.
 * @param {Element} into
 * @param {Record<string, number>} states
 */
export function drawCounts(into, states) {
	const order = (/** @type {string} */ state) => (clientStates.indexOf(state) + 100) % 100;
	const list = Object.entries(states).filter(([, n]) => n > 0).sort(([a], [b]) => order(a) - order(b));
	keep(into, list, ([state]) => state, ([state]) => el('li', {}, el('strong', {}), badge(ofClient(state))), (element, [, n]) => put(element.children[0], n));
}

function queueTable() {
	return table('Clients that wait for a place', [
		{name: 'name', title: 'Client', sorts: false}, {name: 'package', title: 'Package', sorts: false}, {name: 'place', title: 'Place', class: 'number', sorts: false},
		{name: 'since', title: 'Waits for', class: 'number', sorts: false}, {name: 'reason', title: 'Why', sorts: false},
	]);
}

/** @param {{body: HTMLTableSectionElement}} into @param {any[]} list */
function drawQueue(into, list) {
	keep(into.body, list, (q) => `${q.name} ${q.address} ${q.package}`, (q) => row(q.name, q.package, '', '', ''), (element, q) => {
		put(element.children[2], q.place);
		put(element.children[3], clock((Date.now() - new Date(q.since).getTime()) / 1000));
		put(element.children[4], `${q.reason} (${q.limit})`);
		set(element.children[2], 'class', 'number');
		set(element.children[3], 'class', 'number');
	});
	reachable(into.body);
}

function endedTable() {
	return table('Sessions that ended lately', [
		{name: 'room', title: 'Room', sorts: false}, {name: 'package', title: 'Package', sorts: false}, {name: 'clients', title: 'Clients', sorts: false},
		{name: 'took', title: 'Took', class: 'number', sorts: false}, {name: 'ended', title: 'Ended', sorts: false}, {name: 'reason', title: 'How', sorts: false},
	]);
}

/** @param {{body: HTMLTableSectionElement}} into @param {any[]} list */
function drawEnded(into, list) {
	keep(into.body, list, (s) => s.id, (s) => {
		const counts = el('ul', {class: 'counts'});
		drawCounts(counts, s.client_states);
		const out = row(el('a', {href: `#/session/${encodeURIComponent(s.id)}`}, roomOf(s)), s.package, counts, clock((new Date(s.ended).getTime() - new Date(s.started).getTime()) / 1000), el('time', {title: exactly(s.ended)}), s.reason ?? '');
		set(out.children[3], 'class', 'number');
		return out;
	}, (element, s) => put(element.children[4].children[0], ago(s.ended)));
	reachable(into.body);
}

/** What to type where nothing runs. @param {AbortSignal} signal */
async function nothingRuns(signal) {
	const [images, deployments] = await Promise.all([ask('/v1/images', signal), askMaybe('/v1/deployments', signal)]);
	const quiet = el('p', {class: 'quiet-room'}, 'No room is casting.');
	if (images.length === 0) return [quiet, el('p', {class: 'empty'}, 'No images yet: ', command('wimcast image add \'\\\\fs1\\img\\w11.wim\' --version 1'))];
	if (!deployments?.length) return [quiet, el('p', {class: 'empty'}, 'No deployment yet: ', command(`wimcast deployment create lab12 --image ${images[0].name}`))];
	return [quiet, el('p', {class: 'empty'}, 'A machine starts one, with its boot image or by ', command(`wimcast get ${deployments[0].name} --bundle room.join`))];
}

export {Refusal};
