# What is made once and kept outside the clone, for tests. To be sourced.
#
#   $cache            the folder of all of it: SEGUE_ENGINES_CACHE
#   made NAME CMD...  runs the command with a fresh folder as its last argument, which becomes $cache/NAME: complete or not there. The command may use
#                     the folder $fresh for what is thrown away after it.

cache=${SEGUE_ENGINES_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/segue-engines}

made() {
    local name=$1 fresh
    shift
    if [ ! -d "$cache/$name" ]; then
        mkdir -p "$cache"
        fresh=$(mktemp -d "$cache/.made.XXXXXX")
        if ! "$@" "$fresh/made" >"$fresh/log" 2>&1; then
            tail -n 20 "$fresh/log" >&2
            rm -rf "$fresh"
            return 1
        fi
        # Whoever was first wins; the other's is the same.
        mv -T "$fresh/made" "$cache/$name" 2>/dev/null || true
        rm -rf "$fresh"
        # What no run has asked for in two months, or left behind when it was killed, goes.
        find "$cache" -mindepth 1 -maxdepth 1 -type d -mtime +60 -exec rm -rf {} +
    fi
    touch "$cache/$name"
}

# python_with FILE FOLDER: makes an environment with the packages of a requirements file, each by its digest.
python_with() {
    python3 -m venv "$2" &&
        "$2/bin/python" -m pip install --disable-pip-version-check --no-input --require-hashes --only-binary :all: -r "$1"
}

# python_key FILE: what such an environment is kept by.
python_key() {
    { python3 -c 'import sys; print(sys.version, sys.prefix)' && cat "$1"; } | sha256sum | cut -c 1-16
}
