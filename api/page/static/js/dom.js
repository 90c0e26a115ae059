// Elements. Whatever comes from the network becomes text and nothing else: there is no innerHTML in this page.

/**
 * @typedef {string | number | Node | null | undefined} Child
 * @typedef {{class?: string, on?: Record<string, (event: any) => void>, [attribute: string]: any}} Properties
 */

/**
 * Makes an element.
 * @param {string} name
 * @param {Properties} [properties] attributes; `on` are listeners, false and undefined are left out
 * @param {...Child} children
 * @returns {any}
 */
export function el(name, properties = {}, ...children) {
	const element = document.createElement(name);
	for (const [key, value] of Object.entries(properties)) {
		if (key === 'on') {
			for (const [event, listener] of Object.entries(value)) element.addEventListener(event, /** @type {any} */ (listener));
		} else if (value !== undefined && value !== null && value !== false) {
			element.setAttribute(key, value === true ? '' : String(value));
		}
	}
	element.append(...children.filter((child) => child !== null && child !== undefined).map((child) => (child instanceof Node ? child : String(child))));
	return element;
}

/**
 * Gives an element a text, if it hasn't it already.
 * @param {Element} element
 * @param {string | number} text
 */
export function put(element, text) {
	const value = String(text);
	const only = element.firstChild;
	if (only && only === element.lastChild && only.nodeType === Node.TEXT_NODE) {
		if (/** @type {Text} */ (only).data !== value) /** @type {Text} */ (only).data = value;
	} else if (element.textContent !== value) {
		element.textContent = value;
	}
}

/**
 * Sets an attribute, if it isn't so already; null removes it.
 * @param {Element} element
 * @param {string} name
 * @param {string | null} value
 */
export function set(element, name, value) {
	if (value === null) {
		if (element.hasAttribute(name)) element.removeAttribute(name);
	} else if (element.getAttribute(name) !== value) {
		element.setAttribute(name, value);
	}
}

/**
 * Makes the children of an element those of a list, and touches only what has changed.
 * @template T
 * @param {Element} parent
 * @param {T[]} list
 * @param {(item: T) => string | number} key
 * @param {(item: T) => Element} make
 * @param {(element: any, item: T) => void} [update] also called for new ones
 */
export function keep(parent, list, key, make, update) {
	/** @type {Map<string, Element>} */
	const there = new Map();
	for (const child of parent.children) there.set(/** @type {HTMLElement} */ (child).dataset.key ?? '', child);
	let at = parent.firstElementChild;
	for (const item of list) {
		const name = String(key(item));
		let element = there.get(name);
		if (element) {
			there.delete(name);
		} else {
			element = make(item);
			/** @type {HTMLElement} */ (element).dataset.key = name;
		}
		if (update) update(element, item);
		if (element === at) at = at.nextElementSibling;
		else parent.insertBefore(element, at);
	}
	for (const child of there.values()) child.remove();
}
