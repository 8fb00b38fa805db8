# Options of a small broker's JVM: "${jvm[@]}". To be sourced; `here` is this folder.
jvm=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -Xss512k -Djava.awt.headless=true
    "-Dlog4j2.configurationFile=$here/log4j2.xml")
