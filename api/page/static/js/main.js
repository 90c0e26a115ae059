// The page: who may see it, which view is shown, and whether the daemon answers.

import {ask, onLocked, onLost, send} from './ask.js';
import {el, put, set} from './dom.js';
import {ago, time} from './human.js';
import {command} from './table.js';
import * as fleet from './fleet.js';
import * as history from './history.js';
import * as images from './images.js';
import * as rooms from './rooms.js';
import * as session from './session.js';

/**
 * A view fills main until its signal says that it is left.
 * @typedef {(main: HTMLElement, args: string[], signal: AbortSignal) => string} View its answer is the page's title
 */

/** @type {Record<string, View>} */
const views = {rooms: rooms.show, session: session.show, images: images.show, fleet: fleet.show, history: history.show};

const main = /** @type {HTMLElement} */ (document.getElementById('main'));
let shown = new AbortController();

/** Shows what the address says. @param {boolean} [moved] the viewer went there, and the focus with them */
function route(moved) {
	const [, name = '', ...args] = location.hash.split('/');
	const view = views[name] ? name : 'rooms';
	shown.abort();
	shown = new AbortController();
	main.replaceChildren();
	const title = views[view](main, args.map(decode), shown.signal);
	document.title = `${title} – wimcast`;
	for (const link of document.querySelectorAll('#views a')) {
		const here = link.getAttribute('href') === `#/${view === 'session' ? 'rooms' : view}`;
		set(link, 'aria-current', here ? 'page' : null);
	}
	if (moved) {
		main.focus({preventScroll: true});
		scrollTo(0, 0);
	}
}

/** @param {string} text */
function decode(text) {
	try {
		return decodeURIComponent(text);
	} catch {
		return text;
	}
}

/** Says how to get in. @param {string} why */
function locked(why) {
	shown.abort();
	main.replaceChildren(
		el('h1', {}, 'This page wants a link'),
		el('p', {}, why),
		el('p', {}, 'On the server, or anywhere with a viewer’s bundle, type'),
		el('p', {}, command('wimcast page')),
		el('p', {class: 'muted'}, 'and open the link that it prints. It works once; what it opens shows everything, changes nothing, and lasts 12 hours or until the daemon starts again.'),
	);
	document.title = 'wimcast';
	leave.hidden = true;
}

const leave = /** @type {HTMLButtonElement} */ (document.getElementById('leave'));
leave.addEventListener('click', async () => {
	await send('/logout').catch(() => {});
	locked('You have signed out.');
});

// A link's token goes to the server and out of the address, so that it stays in no history.
async function login() {
	const token = /^#token=([\w-]+)$/.exec(location.hash)?.[1];
	if (!token) return;
	history_('#/rooms');
	await send('/login', {token});
}

/** @param {string} hash */
function history_(hash) {
	window.history.replaceState(null, '', hash);
}

let shut = false, begun = false;
onLocked(() => {
	if (shut || !begun) return;
	shut = true;
	locked('What opened it has ended, or it was never open in this browser.');
});

const lost = /** @type {HTMLElement} */ (document.getElementById('lost'));
onLost((since) => {
	lost.hidden = since === null;
	document.body.classList.toggle('stale', since !== null);
	if (since !== null) put(lost, `Connection lost since ${time(since)}. What is shown is from before; it goes on by itself. On the server: systemctl status wimcastd`);
});

/** Shows whose page this is. */
async function where() {
	const status = await ask('/v1/status');
	const at = /** @type {HTMLElement} */ (document.getElementById('where'));
	put(at, `${location.hostname} · ${status.version}`);
	at.title = `wimcastd ${status.version}, started ${ago(status.started)}, on ${status.interface}`;
}

async function start() {
	try {
		await login();
	} catch (error) {
		try {
			await ask('/v1/status'); // the link is used up, and this browser is in all the same
		} catch {
			shut = true;
			locked(/** @type {Error} */ (error).message);
			addEventListener('hashchange', () => location.reload());
			return;
		}
	}
	begun = true;
	addEventListener('hashchange', () => {
		if (location.hash.startsWith('#token=')) location.reload();
		else if (location.hash === '#main') return;
		else if (!shut) route(true);
	});
	document.getElementById('skip')?.addEventListener('click', (event) => {
		event.preventDefault();
		main.focus();
	});
	try {
		await where();
	} catch {
		if (shut) return;
	}
	leave.hidden = false;
	route();
}

void start();
