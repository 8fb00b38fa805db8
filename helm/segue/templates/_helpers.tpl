{{/* A role is one of decision, campaign, accounting, profile and all; a component is a role, or setup. */}}

{{- define "segue.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- (contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name)) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "segue.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "segue.labels" -}}
{{ include "segue.selectorLabels" . }}
{{- /* A tag may have a digest behind it, which no label takes. */}}
app.kubernetes.io/version: {{ default .root.Chart.AppVersion .root.Values.image.tag | splitList "@" | first | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "segue.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{/* The roles that this mode has, with commas. */}}
{{- define "segue.roles" -}}
{{ eq .Values.mode "one" | ternary "all" "decision,campaign,accounting,profile" }}
{{- end -}}

{{/* The role whose servers answer players. */}}
{{- define "segue.playerRole" -}}
{{ eq .Values.mode "one" | ternary "all" "decision" }}
{{- end -}}

{{/* Journals' quota and the topics' partitions, as configured or by default, in whole numbers. */}}
{{- define "segue.quotaBytes" -}}
{{ dig "journal" "quota_bytes" 8589934592 .Values.config | int64 }}
{{- end -}}
{{- define "segue.partitions" -}}
{{ dig "kafka" "events_partitions" 64 .Values.config | int64 }}
{{- end -}}

{{/* The whole number of bytes of a size such as 20Gi. */}}
{{- define "segue.bytes" -}}
{{- $factor := dict "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- mul (. | trimSuffix "i" | trimSuffix "M" | trimSuffix "G" | trimSuffix "T" | int64) (get $factor (regexFind "[MGT]i$" .)) -}}
{{- end -}}

{{/* What can't be right, in words. The schema has judged each value by itself before. */}}
{{- define "segue.check" -}}
{{- $v := .Values -}}
{{- range $role := splitList "," (include "segue.roles" .) -}}
{{- $its := index $v.roles $role -}}
{{- if has $role (list "decision" "all") -}}
{{- $need := add (mul 2 (include "segue.quotaBytes" $ | int64)) 536870912 -}}
{{- if lt (include "segue.bytes" $its.storage.size | int64) $need -}}
{{- $small := printf "roles.%s.storage.size %s is too small" $role $its.storage.size -}}
{{- $why := printf "two journals may take config.journal.quota_bytes (%s) each" (include "segue.quotaBytes" $) -}}
{{- fail (printf "%s: %s; give at least %dMi, or lower the quota" $small $why (div (add $need 1048575) 1048576)) -}}
{{- end -}}
{{- end -}}
{{- with $its.autoscaling -}}
{{- if and .enabled (gt (int .min) (int .max)) -}}
{{- fail (printf "roles.%s.autoscaling.min %d is more than max %d" $role (int .min) (int .max)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq $v.mode "many" -}}
{{- $partitions := include "segue.partitions" . | int -}}
{{- $most := $v.roles.accounting.autoscaling.enabled | ternary $v.roles.accounting.autoscaling.max $v.roles.accounting.replicas | int -}}
{{- if gt $most $partitions -}}
{{- $many := printf "roles.accounting has up to %d servers for %d partitions (config.kafka.events_partitions)" $most $partitions -}}
{{- fail (printf "%s: those beyond would have nothing to do" $many) -}}
{{- end -}}
{{- $sasl := hasPrefix "sasl" $v.kafka.security -}}
{{- $tls := hasSuffix "tls" $v.kafka.security -}}
{{- if and $sasl (not (and $v.kafka.user $v.kafka.passwordSecret.name)) -}}
{{- fail (printf "kafka.user and kafka.passwordSecret.name must both be given with kafka.security %s" $v.kafka.security) -}}
{{- end -}}
{{- if and (not $sasl) (or $v.kafka.user $v.kafka.passwordSecret.name) -}}
{{- fail "kafka.user and kafka.passwordSecret are for kafka.security sasl_plaintext or sasl_tls; without sasl nobody logs in" -}}
{{- end -}}
{{- if and $v.kafka.caSecret.name (not $tls) -}}
{{- fail "kafka.caSecret is for kafka.security tls or sasl_tls" -}}
{{- end -}}
{{- if and $v.cql.caSecret.name (not $v.cql.tls) -}}
{{- fail "cql.caSecret is for cql.tls" -}}
{{- end -}}
{{- if ne (empty $v.cql.user) (empty $v.cql.passwordSecret.name) -}}
{{- fail "cql.user and cql.passwordSecret.name must both be given, or neither" -}}
{{- end -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.players.host) -}}
{{- fail "ingress.players.host is not set: say by which host name players reach the servers" -}}
{{- end -}}
{{- end -}}

{{- define "segue.variable" -}}
- name: {{ printf "SEGUE_%s__%s" .section .key | upper }}
  {{- /* Helm reads every number as a float, which prints great ones with an exponent. */}}
  value: {{ kindIs "float64" .value | ternary (.value | int64 | toString) (toString .value) | quote }}
{{- end -}}

{{/* How Kafka and CQL are reached, as environment. */}}
{{- define "segue.reaching" -}}
{{- $v := .Values -}}
{{- $kafka := dict "brokers" $v.kafka.brokers "security" $v.kafka.security -}}
{{- if $v.kafka.user -}}
{{- $_ := merge $kafka (dict "user" $v.kafka.user "password_file" "/etc/segue/kafka-password/password") -}}
{{- end -}}
{{- if $v.kafka.caSecret.name -}}
{{- $_ := set $kafka "ca_file" "/etc/segue/kafka-ca/ca.crt" -}}
{{- end -}}
{{- $cql := dict "hosts" $v.cql.hosts "keyspace" $v.cql.keyspace "datacenter" $v.cql.datacenter -}}
{{- if $v.cql.user -}}
{{- $_ := merge $cql (dict "user" $v.cql.user "password_file" "/etc/segue/cql-password/password") -}}
{{- end -}}
{{- if $v.cql.tls -}}
{{- $_ := set $cql "tls" "on" -}}
{{- end -}}
{{- if $v.cql.caSecret.name -}}
{{- $_ := set $cql "ca_file" "/etc/segue/cql-ca/ca.crt" -}}
{{- end -}}
{{- range $section, $settings := dict "kafka" $kafka "cql" $cql -}}
{{- range $key, $value := merge (deepCopy (default dict (index $v.config $section))) $settings }}
{{ include "segue.variable" (dict "section" $section "key" $key "value" $value) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "segue.secretVolumes" -}}
{{- if eq .Values.mode "many" -}}
{{- $v := .Values -}}
{{- $kafka := list (list "kafka-password" $v.kafka.passwordSecret "password") (list "kafka-ca" $v.kafka.caSecret "ca.crt") -}}
{{- $cql := list (list "cql-password" $v.cql.passwordSecret "password") (list "cql-ca" $v.cql.caSecret "ca.crt") -}}
{{- range concat $kafka $cql }}
{{- $secret := index . 1 }}
{{- if $secret.name }}
- name: {{ index . 0 }}
  secret:
    secretName: {{ $secret.name }}
    defaultMode: 0440
    items:
      - key: {{ $secret.key }}
        path: {{ index . 2 }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "segue.secretMounts" -}}
{{- range (include "segue.secretVolumes" . | fromYamlArray) }}
- name: {{ .name }}
  mountPath: /etc/segue/{{ .name }}
  readOnly: true
{{- end }}
{{- end -}}

{{/* What all pods have in common. */}}
{{- define "segue.pod" -}}
automountServiceAccountToken: false
{{- /* Else each Service of the release would come as a variable SEGUE_..., which the server takes for a setting. */}}
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .Values.podSecurityContext.runAsUser }}
  runAsGroup: {{ .Values.podSecurityContext.runAsGroup }}
  fsGroup: {{ .Values.podSecurityContext.fsGroup }}
  {{- /* A large volume is not walked through at each start. */}}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "segue.container" -}}
image: {{ include "segue.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}
