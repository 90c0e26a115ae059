// The points of a site, what each has and what is on its way; at a point, its own pulls.

import {ask, askMaybe, Unreachable} from './ask.js';
import {badge} from './bar.js';
import {el, put} from './dom.js';
import {every} from './every.js';
import {ago, bytes, clock, count, percent, rate, time} from './human.js';
import {command, reachable, row, table} from './table.js';
import {ofPackage} from './words.js';

const lookEvery = 4000; // ms

/**
 * @param {HTMLElement} main
 * @param {string[]} _
 * @param {AbortSignal} signal
 */
export function show(main, _, signal) {
	const into = el('div', {}, el('p', {class: 'loading'}, 'Looking …')), error = el('p', {class: 'error', role: 'alert', hidden: true});
	main.append(el('h1', {}, 'Fleet'), error, into);
	let before = '';
	every(lookEvery, signal, async () => {
		try {
			const [own, fleet] = await Promise.all([askMaybe('/v1/point', signal), askMaybe('/v1/fleet', signal)]);
			error.hidden = true;
			// It is made anew when anything has changed but the ages; who stands in it stays where they are.
			const now = JSON.stringify([own, fleet]) + Math.floor(Date.now() / 30_000);
			if (now === before || into.contains(document.activeElement)) return;
			before = now;
			into.replaceChildren(...parts(own, fleet?.points ?? []));
			for (const body of into.querySelectorAll('tbody')) reachable(body);
		} catch (problem) {
			if (signal.aborted || problem instanceof Unreachable) return;
			error.hidden = false;
			put(error, /** @type {Error} */ (problem).message);
		}
	});
	return 'Fleet';
}

/** @param {any} own @param {any[]} points */
function parts(own, points) {
	const out = [];
	if (own) out.push(ownPulls(own));
	if (points.length > 0) out.push(matrix(points), troubles(points));
	else if (!own) out.push(el('p', {class: 'empty'}, 'This server has no other points. One more begins with ', command('wimcast point add NAME'), ' where [registry] is set.'));
	return out;
}

/** What this point has and pulls. @param {any} own */
function ownPulls(own) {
	const list = table('Packages of this point', [
		{name: 'package', title: 'Package', sorts: false}, {name: 'state', title: 'State', sorts: false}, {name: 'far', title: 'Here', sorts: false}, {name: 'rate', title: 'Rate', class: 'number', sorts: false},
		{name: 'since', title: 'Since', sorts: false}, {name: 'why', title: 'Why', sorts: false},
	]);
	for (const p of own.packages) list.body.append(row(p.package, badge(ofPackage(p.state)), far(p), p.rate_bytes_per_second ? `${rate(p.rate_bytes_per_second)}, ${clock(p.eta_seconds ?? 0)} left` : '', p.since ? ago(p.since) : '', why(p)));
	return el('section', {'aria-label': 'This point'},
		el('h2', {}, `This point: ${own.name}`),
		el('p', {class: 'muted'}, `pulls from ${own.repository}; ${own.polled ? `last asked ${ago(own.polled)}` : 'not asked yet'}${own.multicast ? '' : '; does not cast'}`),
		own.error ? el('p', {class: 'alarm'}, `⚠ ${own.error}`) : null,
		own.packages.length ? el('div', {class: 'scroll'}, list.table) : el('p', {class: 'empty'}, 'The site has assigned nothing yet; at the site: ', command(`wimcast image distribute w11 --to ${own.name}`)));
}

/** @param {any} p */
const far = (p) => (p.total_bytes ? `${percent((p.bytes ?? 0) / p.total_bytes)} of ${bytes(p.total_bytes)}` : '');

/** @param {any} p */
const why = (p) => [p.error, p.held, p.retry ? `next try at ${time(p.retry)}` : ''].filter(Boolean).join('; ');

/** Points by packages. @param {any[]} points */
function matrix(points) {
	const packages = [...new Set(points.flatMap((p) => p.packages.map((/** @type {any} */ x) => x.package)))].sort();
	const list = table('Points and their packages', [{name: 'point', title: 'Point', sorts: false}, {name: 'age', title: 'Last heard of', sorts: false}, ...packages.map((name) => ({name, title: name, sorts: false})), {name: 'casts', title: 'Casts now', sorts: false}]);
	for (const p of points) {
		const heard = p.out_of_reach_since ? badge({word: `out of reach since ${time(p.out_of_reach_since)}`, sign: '✕', tone: 'bad'}) : p.reported ? ago(p.reported) : badge({word: 'never', sign: '·', tone: 'warn'});
		list.body.append(row(
			el('span', {}, el('strong', {}, p.name), el('span', {class: 'block muted'}, [p.version, p.library_free_bytes ? `${bytes(p.library_free_bytes)} free` : ''].filter(Boolean).join(', '))),
			el('span', {}, heard, p.clock_ahead_seconds ? el('span', {class: 'block muted'}, `its clock is ${clock(Math.abs(p.clock_ahead_seconds))} ${p.clock_ahead_seconds > 0 ? 'ahead' : 'behind'}`) : null),
			...packages.map((name) => cell(p.packages.find((/** @type {any} */ x) => x.package === name))),
			p.casts.map((/** @type {any} */ c) => `${c.deployment || c.package} ${percent(c.progress)}`).join(', ')));
	}
	return el('section', {'aria-label': 'Points'}, el('h2', {}, `${count(points.length, 'point')}, ${count(packages.length, 'package')}`), el('div', {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Points and their packages'}, list.table));
}

/** @param {any} p */
function cell(p) {
	if (!p) return el('span', {class: 'muted'}, '–');
	const more = p.state === 'in_progress' ? `${far(p)}${p.rate_bytes_per_second ? `, ${rate(p.rate_bytes_per_second)}` : ''}` : p.state === 'failed' || p.state === 'waiting' ? (p.error ?? p.held ?? '') : p.since ? `since ${ago(p.since).replace(' ago', '')}` : '';
	return el('span', {}, badge(ofPackage(p.state)), el('span', {class: 'block muted'}, more));
}

/** What failed at points, in sentences. @param {any[]} points */
function troubles(points) {
	const list = points.flatMap((p) => [
		...p.packages.filter((/** @type {any} */ x) => x.error).map((/** @type {any} */ x) => `${p.name}: ${x.package}: ${why(x)}`),
		...(p.out_of_service ?? []).map((/** @type {any} */ x) => `${p.name}: ${x.package} is out of service: ${x.reason}`),
	]);
	return list.length ? el('section', {'aria-label': 'Errors'}, el('h2', {}, 'What failed'), el('ul', {class: 'alarms'}, ...list.map((text) => el('li', {}, el('span', {class: 'sign', 'aria-hidden': 'true'}, '⚠'), el('span', {}, text))))) : el('span', {});
}
