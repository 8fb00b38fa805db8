# Real engines for tests, without containers: fetched once, started on free loopback ports, ended by process id. To be sourced.
#
#   engines_missing   says on one line what the machine lacks; nothing when it lacks nothing
#   engines_start     begins to fetch and start them, in the background
#   engines_await     waits until they answer, and exports their addresses: SEGUE_TEST_KAFKA, SEGUE_TEST_CQL, SEGUE_TEST_WEBDRIVER, ...
#   engines_stop      ends them and removes what they wrote; for a trap on EXIT
#
# Jars come through Maven, by Maven's own settings, and are kept in SEGUE_ENGINES_CACHE by what they were asked for. So are a Python for the consumers that
# tests run, a Helm for the chart's and a driver of browsers, which are no engines but come the same way. ENGINES names those to start, such as
# "kafka python"; all of them without it.

engines_scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$engines_scripts/kept.sh"
read -ra engines_names <<<"${ENGINES:-kafka cassandra cassandra-locked python helm browser}"
[ "${engines_names[*]}" != none ] || engines_names=()
engines_dir=""
engines_starting=()

engines_missing() {
    local name
    for name in "${engines_names[@]}"; do engines_lack "$name"; done | sort -u
}

# engines_environment NAME: the script that makes it, of what is no engine.
engines_environment() {
    case $1 in
    python) printf '%s\n' "$engines_scripts/../../examples/python/environment.sh" ;;
    helm) printf '%s\n' "$engines_scripts/../helm/environment.sh" ;;
    browser) printf '%s\n' "$engines_scripts/browser/environment.sh" ;;
    esac
}

# engines_lack NAME: says on one line what the machine lacks for this one.
engines_lack() {
    local lacks=""
    if [ -n "$(engines_environment "$1")" ]; then
        "$(engines_environment "$1")" --missing
        return
    fi
    command -v java >/dev/null && command -v keytool >/dev/null || lacks="openjdk-17-jre-headless"
    command -v mvn >/dev/null || lacks="$lacks maven"
    [ -z "$lacks" ] || printf 'Kafka and Cassandra for tests need Java 17 and Maven. On Debian: apt-get install -y --no-install-recommends %s\n' "$lacks"
}

# engines_fetch NAME: prints the folder with its jars (of python: the program, of helm: the folder with both); fetches them if they are not there.
engines_fetch() {
    local name=$1 lib asked
    if [ -n "$(engines_environment "$name")" ]; then
        "$(engines_environment "$name")"
        return
    fi
    # cassandra-locked is the same program: of two that start at once one fetches it.
    name=${name%-locked}
    exec {asked}<"$engines_scripts/$name/pom.xml"
    flock "$asked"
    lib=$name-$(sha256sum "$engines_scripts/$name/pom.xml" | cut -c 1-16)
    made "$lib" engines_jars "$name" || { printf 'fetching %s failed\n' "$name" >&2 && return 1; }
    printf '%s\n' "$cache/$lib"
}

# engines_jars NAME FOLDER: fetches its jars. The local repository is thrown away: the jars are what is kept.
engines_jars() {
    mvn -q -B -C -Dmaven.repo.local="$fresh/repository" -f "$engines_scripts/$1/pom.xml" \
        org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DoutputDirectory="$2" -DincludeScope=runtime </dev/null
}

# engines_port: prints a loopback port on which nobody listens, below those that the system gives to clients.
engines_port() {
    local port
    while :; do
        port=$((10000 + (RANDOM * 32768 + RANDOM) % 20000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    printf '%s\n' "$port"
}

# engines_await_port PID PORT LOG SECONDS: waits until a process listens there.
engines_await_port() {
    local pid=$1 port=$2 log=$3 until=$((SECONDS + $4))
    until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        if ! kill -0 "$pid" 2>/dev/null || [ $SECONDS -ge $until ]; then
            printf 'it does not listen; the end of %s:\n' "$log" >&2
            tail -n 30 "$log" >&2
            return 1
        fi
        sleep 0.2
    done
}

# Each engine in a shell of its own, which writes `pid`, `ready` (how long it took) and `addresses` into its folder.
engines_start_one() {
    local name=$1 dir=$2 lib from=$SECONDS attempt
    lib=$(engines_fetch "$name") || return
    printf '%s fetched in %d s' "$name" $((SECONDS - from)) >"$dir.times"
    # A port that was free a moment ago may be taken: then another.
    for attempt in 1 2 3; do
        rm -rf "$dir"
        mkdir -p "$dir"
        from=$SECONDS
        if "$engines_scripts/$name/start.sh" "$lib" "$dir"; then
            printf ', started in %d s\n' $((SECONDS - from)) >>"$dir.times"
            return 0
        fi
        [ ! -s "$dir/pid" ] || engines_end "$(cat "$dir/pid")"
    done
    return 1
}

engines_start() {
    local name able=()
    # What the machine lacks something for is left out: its tests say that they were skipped.
    for name in "${engines_names[@]}"; do [ -n "$(engines_lack "$name")" ] || able+=("$name"); done
    engines_names=(${able[@]+"${able[@]}"})
    engines_dir=$(mktemp -d "${TMPDIR:-/tmp}/segue-engines.XXXXXX")
    for name in "${engines_names[@]}"; do
        engines_start_one "$name" "$engines_dir/$name" </dev/null >"$engines_dir/$name.out" 2>&1 &
        engines_starting+=($!)
    done
}

engines_await() {
    local name index=0 status=0
    for name in "${engines_names[@]}"; do
        if wait "${engines_starting[$index]}"; then
            cat "$engines_dir/$name.times"
            set -a
            # shellcheck disable=SC1090
            . "$engines_dir/$name/addresses"
            set +a
        else
            printf '%s does not start:\n' "$name" >&2
            cat "$engines_dir/$name.out" >&2
            status=1
        fi
        index=$((index + 1))
    done
    engines_starting=()
    return $status
}

# engines_end PID: ends a process and those that it has started, the parent stopped first so that it starts no more.
engines_end() {
    local pid=$1 child children
    kill -STOP "$pid" 2>/dev/null || return 0
    children=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null || true)
    kill -KILL "$pid" 2>/dev/null || true
    for child in $children; do engines_end "$child"; done
}

engines_stop() {
    local name pid
    [ -n "$engines_dir" ] || return 0
    # Those that are still on their way first. The shell would tell of each.
    {
        for pid in ${engines_starting[@]+"${engines_starting[@]}"}; do
            engines_end "$pid"
            wait "$pid" || true
        done
    } 2>/dev/null
    engines_starting=()
    # What they hold is thrown away: there is nothing to end in good order.
    for name in "${engines_names[@]}"; do
        [ ! -s "$engines_dir/$name/pid" ] || engines_end "$(cat "$engines_dir/$name/pid")"
    done
    rm -rf "$engines_dir"
    engines_dir=""
}
