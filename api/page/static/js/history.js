// The record: sessions, the clients of one, and whether machines have an image.

import {ask, Refusal} from './ask.js';
import {badge} from './bar.js';
import {el, put} from './dom.js';
import {bytes, clock, date, exactly, percent, time} from './human.js';
import {drawFacts} from './session.js';
import {command, reachable, row, table} from './table.js';
import {ofClient, ofSession} from './words.js';

const page = 50; // records

/**
 * @param {HTMLElement} main
 * @param {string[]} args nothing, or the number of a session
 * @param {AbortSignal} signal
 */
export function show(main, [id], signal) {
	if (id) return showSession(main, id, signal);
	main.append(el('h1', {}, 'History'), sessions(signal), proof(signal));
	return 'History';
}

/** @param {Element} into @param {unknown} problem @param {AbortSignal} signal */
function told(into, problem, signal) {
	if (signal.aborted) return;
	const off = problem instanceof Refusal && problem.status === 409;
	into.replaceChildren(el('p', {class: off ? 'empty' : 'error', role: 'alert'}, /** @type {Error} */ (problem).message));
}

/**
 * A labelled field.
 * @param {string} name
 * @param {string} label
 * @param {string} hint
 * @param {boolean} [required]
 */
function field(name, label, hint, required) {
	return [el('label', {for: `f-${name}`}, label), el('input', {id: `f-${name}`, name, type: 'search', placeholder: hint, autocomplete: 'off', spellcheck: 'false', required})];
}

/** The sessions, with more of them on demand. @param {AbortSignal} signal */
function sessions(signal) {
	const into = el('div', {'aria-live': 'off'}), more = el('button', {type: 'button', hidden: true}, 'Older ones');
	const form = el('form', {class: 'filter', role: 'search', 'aria-label': 'Sessions'}, ...field('client', 'Client', 'name, MAC, serial'), ...field('package', 'Image', 'w11 or w11@1'),
		el('label', {for: 'f-state'}, 'State'), el('select', {id: 'f-state', name: 'state'}, ...['', 'running', 'ended', 'interrupted'].map((s) => el('option', {value: s}, s || 'all'))), el('button', {type: 'submit'}, 'Find'));
	const list = table('Recorded sessions', [
		{name: 'started', title: 'Started', sorts: false}, {name: 'room', title: 'Room', sorts: false}, {name: 'package', title: 'Image', sorts: false}, {name: 'state', title: 'State', sorts: false},
		{name: 'clients', title: 'Clients', class: 'number', sorts: false}, {name: 'proven', title: 'Proven', class: 'number', sorts: false}, {name: 'failed', title: 'Failed', class: 'number', sorts: false},
		{name: 'took', title: 'Took', class: 'number', sorts: false}, {name: 'reason', title: 'How it ended', sorts: false},
	]);
	let last = 0, byClient = false;
	const load = async () => {
		const query = new URLSearchParams({limit: String(page)});
		for (const [key, value] of new FormData(form)) if (value) query.append(key, String(value).trim());
		if (last) query.set('before', String(last));
		byClient = query.has('client');
		try {
			const found = await ask(`/v1/history/${byClient ? 'clients' : 'sessions'}?${query}`, signal);
			if (!last && found.length === 0) {
				into.replaceChildren(query.size > 1 ? el('p', {class: 'empty'}, 'Nothing in the record fits.') : el('p', {class: 'empty'}, 'Nothing was cast yet: ', command('wimcast get w11 --bundle room.join')));
			} else if (byClient) {
				if (!last) into.replaceChildren(el('div', {class: 'scroll'}, clientTable([], true).table));
				/** @type {any} */ (into.querySelector('tbody')).append(...clientRows(found, true));
			} else {
				if (!last) {
					list.body.replaceChildren();
					into.replaceChildren(el('div', {class: 'scroll'}, list.table));
				}
				list.body.append(...found.map(sessionRow));
			}
			for (const body of into.querySelectorAll('tbody')) reachable(body);
			more.hidden = found.length < page;
			last = found.length ? found[found.length - 1].id : 0;
		} catch (problem) {
			told(into, problem, signal);
		}
	};
	more.addEventListener('click', load);
	form.addEventListener('submit', (/** @type {Event} */ event) => { event.preventDefault(); last = 0; void load(); });
	void load();
	return el('section', {'aria-label': 'Sessions'}, el('h2', {}, 'Sessions'), form, into, el('p', {}, more));
}

/** @param {any} s */
function sessionRow(s) {
	const out = row(el('a', {href: `#/history/${s.id}`, title: exactly(s.started)}, date(s.started)), s.deployment || '', s.package, badge(ofSession(s.state)), s.clients, s.proven, s.failed, clock(s.seconds), s.reason ?? '');
	for (const i of [4, 5, 6, 7]) out.children[i].className = 'number';
	if (s.failed > 0) out.children[6].className = 'number bad';
	return out;
}

/** @param {any[]} list @param {boolean} [when] */
function clientTable(list, when) {
	const made = table('Recorded clients', [
		{name: 'name', title: 'Client', sorts: false}, {name: 'state', title: 'State', sorts: false}, ...(when ? [{name: 'package', title: 'Image', sorts: false}] : []), {name: 'joined', title: 'Joined', sorts: false}, {name: 'took', title: 'Took', class: 'number', sorts: false},
		{name: 'how', title: 'Multicast / unicast / had', class: 'number', sorts: false}, {name: 'lost', title: 'Lost: network / buffer / disk', class: 'number', sorts: false}, {name: 'applied', title: 'Applied', sorts: false}, {name: 'why', title: 'Why', sorts: false},
	]);
	made.body.append(...clientRows(list, when));
	reachable(made.body);
	return made;
}

/** @param {any[]} list @param {boolean} [when] */
const clientRows = (list, when) => list.map((c) => {
	const out = row(
		el('span', {title: [c.uuid, c.serial, c.macs, c.address].filter(Boolean).join(', ')}, when ? el('a', {href: `#/history/${c.session_id}`}, c.name) : c.name),
		badge(ofClient(c.state)), ...(when ? [c.package] : []), el('time', {title: exactly(c.joined)}, when ? date(c.joined) : time(c.joined)), clock(c.seconds),
		`${bytes(c.multicast_bytes)} / ${bytes(c.unicast_bytes)} / ${bytes(c.held_bytes + c.seed_bytes)}`, `${c.lost_network_packets} / ${c.lost_receive_buffer_packets} / ${c.lost_disk_packets}`,
		c.apply_error ? `failed: ${c.apply_error}` : c.applied ? `image ${c.applied_index}, in ${clock(c.apply_seconds ?? 0)}` : '', c.reason || (c.state === 'proven' ? '' : percent(c.progress)));
	const first = when ? 4 : 3;
	for (const i of [first, first + 1, first + 2]) out.children[i].className = 'number';
	return out;
});

/**
 * One session and its clients.
 * @param {HTMLElement} main
 * @param {string} id
 * @param {AbortSignal} signal
 */
function showSession(main, id, signal) {
	const into = el('div', {}, el('p', {class: 'loading'}, 'Looking …'));
	main.append(el('p', {class: 'back'}, el('a', {href: '#/history'}, '← History')), into);
	(async () => {
		try {
			const s = await ask(`/v1/history/sessions/${encodeURIComponent(id)}`, signal);
			const facts = el('dl', {class: 'facts'});
			drawFacts(facts, [
				['Started', date(s.started), s.session], ['Took', clock(s.seconds), s.reason ?? ''], ['Clients', String(s.clients), `${s.proven} proven, ${s.failed} failed${s.interrupted ? `, ${s.interrupted} interrupted` : ''}`],
				['Sent', bytes(s.sent.bytes), `${s.sent.source_packets} source and ${s.sent.parity_packets} parity packets`], ['Image', bytes(s.size_bytes), s.mode === 'clear' ? 'not encrypted' : 'encrypted'],
			]);
			const actions = s.actions?.length ? [el('h2', {}, 'What operators did'), el('ul', {}, ...s.actions.map((/** @type {any} */ a) => el('li', {}, `${time(a.at)} ${a.action} ${a.client ?? ''} ${a.detail ?? ''} – ${a.who}${a.error ? `: refused: ${a.error}` : ''}`)))] : [];
			const members = s.members ?? [];
			into.replaceChildren(el('header', {class: 'title'}, el('h1', {}, s.deployment || s.package), badge(ofSession(s.state))), el('p', {class: 'package'}, `${s.package} · ${s.digest.slice(0, 19)}…`), facts,
				el('h2', {}, 'Clients'), members.length ? el('div', {class: 'scroll'}, clientTable(members).table) : el('p', {class: 'empty'}, 'No client is in the record of this session.'), ...actions);
		} catch (problem) {
			told(into, problem, signal);
		}
	})();
	return `Session ${id}`;
}

/** Whether machines have an image. @param {AbortSignal} signal */
function proof(signal) {
	const into = el('div', {'aria-live': 'polite'});
	const form = el('form', {class: 'filter', role: 'search', 'aria-label': 'Proof'}, ...field('ref', 'Image', 'w11 or w11@1', true), ...field('machines', 'Machines', 'pc*, a MAC, a serial', true), el('button', {type: 'submit'}, 'Who has it?'));
	form.addEventListener('submit', async (/** @type {Event} */ event) => {
		event.preventDefault();
		const data = new FormData(form), query = new URLSearchParams();
		for (const name of String(data.get('machines')).split(/[\s,]+/)) if (name) query.append('client', name);
		try {
			const found = await ask(`/v1/history/proof/${encodeURIComponent(String(data.get('ref')).trim())}?${query}`, signal);
			const list = table('Machines and the image', [
				{name: 'name', title: 'Machine', sorts: false}, {name: 'state', title: 'State', sorts: false}, {name: 'at', title: 'Proven', sorts: false}, {name: 'by', title: 'By', sorts: false}, {name: 'more', title: 'Since then', sorts: false},
			]);
			for (const m of found.machines) {
				const is = m.state === 'proven' ? ofClient('proven') : {word: m.state, sign: '✕', tone: /** @type {const} */ ('bad')};
				list.body.append(row(m.session_id ? el('a', {href: `#/history/${m.session_id}`}, m.name) : m.name, badge(is), m.proven ? date(m.proven) : '', m.path ?? '', m.later ? `proved ${m.later} later` : [m.last_state, m.last_reason].filter(Boolean).join(': ')));
			}
			reachable(list.body);
			const sum = el('p', {}, el('strong', {}, `${found.proven} have it, ${found.missing} don’t.`), ` ${found.package}, ${found.digest.slice(0, 19)}…`);
			into.replaceChildren(sum, el('div', {class: 'scroll'}, list.table));
		} catch (problem) {
			told(into, problem, signal);
		}
	});
	return el('section', {'aria-label': 'Proof'}, el('h2', {}, 'Who has an image?'), form, into);
}

export {put};
