# Completion for bash: the programs know what may stand where. What they know nothing
# of, bash completes as files.
_wimcast() {
	local word
	COMPREPLY=()
	while IFS=$'\t' read -r word _; do
		COMPREPLY+=("$word")
	done < <("$1" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _wimcast wimcast wimcastd
