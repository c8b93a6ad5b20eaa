
# Paths in images.
function __rump_paths
    command rump completions fish --word=(commandline -ct | string unescape) 2>/dev/null | string split0
end
function __rump_is_path
    type -q rump; and command rump completions fish --word=(commandline -ct | string unescape) >/dev/null 2>&1
end
complete -c rump -n __rump_is_path -f -k -a '(__rump_paths)'
