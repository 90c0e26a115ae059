# Completion for fish: the programs know what may stand where. What they know nothing
# of, fish completes as files.
function __wimcast_complete
    set -l words (commandline -opc)
    set -l token (commandline -ct)
    set -l known ($words[1] complete -- $words[2..-1] "$token" 2>/dev/null)
    if test (count $known) -gt 0
        printf '%s\n' $known
    else
        __fish_complete_path "$token"
    end
end
complete -c wimcast -f -a '(__wimcast_complete)'
complete -c wimcastd -f -a '(__wimcast_complete)'
