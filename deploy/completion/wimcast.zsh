#compdef wimcast wimcastd
# Completion for zsh: the programs know what may stand where. What they know nothing
# of, zsh completes as files.
local line
local -a known
while IFS= read -r line; do
	known+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
done < <("${words[1]}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
if (( $#known )); then
	_describe "$service" known
else
	_files
fi
