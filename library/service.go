package library

// ServiceChange says that a package went out of service, or came back.
type ServiceChange struct {
	Package Package // as it was before
	Reason  string  // what is wrong with its content; "" says that it is in service again
}

// maxUntold bounds the changes that are kept until somebody wants to know them.
const maxUntold = 1000

// Watch makes f hear of each change of service from now on, and of those since Open. There is one watcher; it is called
// by whoever found out, one that reads for a cast too, so it must be quick. It may call the library.
func (l *Library) Watch(f func(ServiceChange)) {
	l.mu.Lock()
	l.watcher = f
	l.unlock()
}

// note keeps a change for the watcher. mu must be held.
func (l *Library) note(p Package, reason string) {
	if len(l.untold) < maxUntold {
		l.untold = append(l.untold, ServiceChange{p, reason})
	}
}

// unlock gives up mu, and then tells the watcher what was noted meanwhile.
func (l *Library) unlock() {
	var changes []ServiceChange
	f := l.watcher
	if f != nil {
		changes, l.untold = l.untold, nil
	}
	l.mu.Unlock()
	for _, c := range changes {
		f(c)
	}
}
