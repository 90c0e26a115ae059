// What the API's words mean, in words, and the sign beside each, so that nothing is told by colour alone.

/** @typedef {{word: string, sign: string, tone: 'good' | 'live' | 'calm' | 'warn' | 'bad'}} Meaning */

/** @type {Record<string, Meaning>} */
const clients = {
	waiting: {word: 'waiting', sign: '○', tone: 'calm'},
	receiving: {word: 'receiving', sign: '▸', tone: 'live'},
	unicast: {word: 'unicast', sign: '↓', tone: 'warn'},
	demoted: {word: 'demoted', sign: '▾', tone: 'warn'},
	proven: {word: 'proven', sign: '✓', tone: 'good'},
	failed: {word: 'failed', sign: '✕', tone: 'bad'},
	left: {word: 'left', sign: '–', tone: 'calm'},
	lost: {word: 'lost', sign: '?', tone: 'bad'},
	evicted: {word: 'evicted', sign: '⊘', tone: 'bad'},
	dropped: {word: 'dropped', sign: '✕', tone: 'bad'},
	interrupted: {word: 'interrupted', sign: '–', tone: 'warn'},
};

/** @type {Record<string, Meaning>} */
const sessions = {
	waiting: {word: 'waits for its start', sign: '○', tone: 'calm'},
	casting: {word: 'casting', sign: '▸', tone: 'live'},
	'pass ended': {word: 'asks who lacks anything', sign: '▸', tone: 'live'},
	ended: {word: 'ended', sign: '–', tone: 'calm'},
	running: {word: 'running', sign: '▸', tone: 'live'},
	interrupted: {word: 'interrupted', sign: '✕', tone: 'warn'},
};

/** @type {Record<string, Meaning>} */
const packages = {
	not_told: {word: 'not heard of yet', sign: '·', tone: 'calm'},
	waiting: {word: 'waits', sign: '○', tone: 'calm'},
	in_progress: {word: 'on its way', sign: '▸', tone: 'live'},
	success: {word: 'there', sign: '✓', tone: 'good'},
	failed: {word: 'failed', sign: '✕', tone: 'bad'},
	leaving: {word: 'leaving', sign: '–', tone: 'calm'},
};

/** @type {Record<string, string>} */
const reasons = {
	starting: 'starting: it doubles until something holds it back',
	probing: 'nothing holds it back: it tries for more',
	ceiling: 'at the operator’s ceiling',
	loss: 'held back by loss in the network',
	receive_buffer: 'held back by a client that drops what it got',
	delay: 'held back by a queue on the way',
};

/** @type {Record<string, string>} */
const causes = {
	network: 'loses packets in the network',
	receive_buffer: 'drops what arrived: its receive buffer is full',
	disk: 'its disk is late',
	sleeping: 'asleep: nothing is heard of it',
};

/** @param {Record<string, Meaning>} all @param {string} name @returns {Meaning} */
const among = (all, name) => all[name] ?? {word: name, sign: '·', tone: 'calm'};

/** @param {string} state */
export const ofClient = (state) => among(clients, state);
/** @param {string} state */
export const ofSession = (state) => among(sessions, state);
/** @param {string} state */
export const ofPackage = (state) => among(packages, state);
/** @param {string} reason */
export const ofRate = (reason) => reasons[reason] ?? reason;
/** @param {string} cause */
export const ofCause = (cause) => causes[cause] ?? cause;

/** The order in which states are counted. */
export const clientStates = Object.keys(clients);

/** States that a client doesn't come back from, and that aren't as they should be. */
export const bad = (/** @type {string} */ state) => among(clients, state).tone === 'bad';
