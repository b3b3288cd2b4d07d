{{/* Labels of every object. */}}
{{- define "proofpull.labels" -}}
app.kubernetes.io/name: proofpull
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The labels that a tenant's pods have in common. */}}
{{- define "proofpull.selector" -}}
app.kubernetes.io/name: proofpull
app.kubernetes.io/instance: {{ .root.Release.Name }}
proofpull/tenant: {{ .tenant.name }}
{{- end }}

{{/* Seconds of a duration such as 1h30m. */}}
{{- define "proofpull.seconds" -}}
{{- $seconds := 0 }}
{{- range $unit, $size := dict "d" 86400 "h" 3600 "m" 60 "s" 1 }}
{{- $seconds = regexFind (printf "[0-9]+%s" $unit) $ | trimSuffix $unit | int | mul $size | add $seconds }}
{{- end }}
{{- $seconds }}
{{- end }}

{{/* A value in TOML. Strings of JSON are strings of TOML; toToml would write each number with a point. */}}
{{- define "proofpull.value" -}}
{{- if kindIs "map" . }}
{{- $items := list }}
{{- range $key, $value := . }}
{{- $items = printf "%s = %s" (include "proofpull.key" $key) (include "proofpull.value" $value) | append $items }}
{{- end }}
{{- printf "{ %s }" (join ", " $items) }}
{{- else if kindIs "slice" . }}
{{- $items := list }}
{{- range . }}
{{- $items = include "proofpull.value" . | append $items }}
{{- end }}
{{- printf "[%s]" (join ", " $items) }}
{{- else if and (kindIs "float64" .) (eq . (floor .)) }}
{{- printf "%.0f" . }}
{{- else }}
{{- toRawJson . }}
{{- end }}
{{- end }}

{{/* A key in TOML. */}}
{{- define "proofpull.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ toRawJson . }}{{ end }}
{{- end }}

{{/* A configuration in TOML: its keys, then its tables, then those of the services. */}}
{{- define "proofpull.toml" -}}
{{- range $key, $value := . }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ include "proofpull.key" $key }} = {{ include "proofpull.value" $value }}
{{- end }}
{{- end }}
{{- range $table, $values := omit . "services" }}
{{- if kindIs "map" $values }}
{{ include "proofpull.table" (dict "name" $table "values" $values) }}
{{- end }}
{{- end }}
{{- range $service, $values := .services }}
{{- if kindIs "map" $values }}
{{ include "proofpull.table" (dict "name" (printf "services.%s" $service) "values" $values) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "proofpull.table" }}
[{{ .name }}]
{{- range $key, $value := .values }}
{{- if not (kindIs "invalid" $value) }}
{{ include "proofpull.key" $key }} = {{ include "proofpull.value" $value }}
{{- end }}
{{- end }}
{{- end }}

{{/*
A tenant, as JSON: the defaults with its own values, and
  name, claim;
  files: what its configuration reads, by path below /etc/proofpull: { from: { secret or configMap, key }, api };
  proxy: the reference to a proxy with a password, if there is one;
  jobs: { id: { api, service, seconds } }, one for each API, of PoD one for each service.
*/}}
{{- define "proofpull.tenant" -}}
{{- $root := .root }}
{{- $name := .name }}
{{- $object := printf "%s-%s" $root.Release.Name $name }}
{{- $tenant := mustMergeOverwrite (deepCopy $root.Values.defaults) (deepCopy .values) }}
{{- $config := $tenant.config }}
{{- $_ := set $tenant "name" $name }}
{{- $_ := set $tenant "object" $object }}
{{- $_ := set $config "name" ($config.name | default $name) }}
{{- $_ := set $config.devo "hostname" ($config.devo.hostname | default $object) }}

{{- $files := dict }}
{{- range $file := list
      (dict "table" "devo" "key" "chain" "path" "certs/chain.crt")
      (dict "table" "devo" "key" "cert" "path" "certs/domain.crt")
      (dict "table" "devo" "key" "key" "path" "certs/domain.key")
      (dict "table" "devo.query" "key" "token" "path" "devo-query.token" "secret" true)
      (dict "table" "http" "key" "ca" "path" "certs/ca.crt")
      (dict "table" "obfuscation" "key" "key" "path" "obfuscation.key" "secret" true)
      (dict "table" "tap" "key" "secret" "path" "tap.secret" "secret" true "api" "tap")
      (dict "table" "pod" "key" "api_key" "path" "pod.key" "secret" true "api" "pod")
      (dict "table" "isolation" "key" "api_key" "path" "isolation.key" "secret" true "api" "isolation") }}
{{- $table := get $config $file.table }}
{{- if eq $file.table "devo.query" }}
{{- $table = get $config.devo "query" }}
{{- end }}
{{- if kindIs "map" $table }}
{{- $from := get $table $file.key }}
{{- if and $file.secret (not $from) }}
{{- $from = dict }}
{{- end }}
{{- if kindIs "map" $from }}
{{- if and $from.secret $from.configMap }}
{{- fail (printf "tenant %s: %s.%s: secret and configMap exclude each other" $name $file.table $file.key) }}
{{- end }}
{{- if not $from.configMap }}
{{- $from = merge $from (dict "secret" $object) }}
{{- end }}
{{- $from = merge $from (dict "key" (base $file.path)) }}
{{- $_ := set $files $file.path (dict "from" $from "api" $file.api) }}
{{- $_ := set $table $file.key (ternary (dict "file" $file.path) $file.path ($file.secret | default false)) }}
{{- end }}
{{- end }}
{{- end }}
{{- $_ := set $tenant "files" $files }}
{{- with $config.http }}
{{- if kindIs "map" .proxy }}
{{- $_ := set $tenant "proxy" (merge .proxy (dict "secret" $object "key" "proxy")) }}
{{- $_ := unset . "proxy" }}
{{- end }}
{{- end }}

{{- range $need := list (list "devo" "address") (list "tap" "principal") (list "pod" "cluster_id") }}
{{- $table := get $config (first $need) }}
{{- if and (kindIs "map" $table) (not (get $table (last $need))) }}
{{- fail (printf "tenant %s: config.%s.%s is required" $name (first $need) (last $need)) }}
{{- end }}
{{- end }}

{{- $known := $root.Files.Get "files/services.json" | fromJson }}
{{- $services := $config.services | default dict }}
{{- $jobs := dict }}
{{- range $api, $all := $known }}
{{- if kindIs "map" (get $config $api) }}
{{- $named := list }}
{{- $seconds := 0 }}
{{- range $all }}
{{- if kindIs "map" (get $services .) }}
{{- $named = append $named . }}
{{- end }}
{{- end }}
{{- range $service := $named | default $all }}
{{- $own := get $services $service | default dict }}
{{- if eq $api "pod" }}
{{- /* an hour of the archive that did not fit into the run before gets an hour more */}}
{{- $longest := include "proofpull.seconds" ($own.max_duration | default "50m") | int | add 4200 }}
{{- $_ := set $jobs $service (dict "api" $api "service" $service "seconds" $longest) }}
{{- else }}
{{- $seconds = include "proofpull.seconds" ($own.max_duration | default "10m") | int | add 300 $seconds }}
{{- end }}
{{- end }}
{{- if $seconds }}
{{- $_ := set $jobs $api (dict "api" $api "service" (printf "%s-*" $api) "seconds" $seconds) }}
{{- end }}
{{- end }}
{{- end }}
{{- if not $jobs }}
{{- fail (printf "tenant %s: config has no table tap, pod or isolation" $name) }}
{{- end }}
{{- $alone := eq $tenant.state.accessMode "ReadWriteOncePod" }}
{{- if and $alone $tenant.state.existingClaim (gt (len $jobs) 1) }}
{{- fail (printf "tenant %s: its %d CronJobs cannot share an existing claim that is ReadWriteOncePod" $name (len $jobs)) }}
{{- end }}
{{- range $id, $job := $jobs }}
{{- $_ := set $job "name" (printf "%s-%s" $object $id) }}
{{- if gt (len $job.name) 52 }}
{{- fail (printf "tenant %s: %s has more than the 52 characters of a CronJob: shorten the name of the tenant or of the release" $name $job.name) }}
{{- end }}
{{- $claim := $tenant.state.existingClaim | default (ternary (printf "%s.%s" $object $id) $object $alone) }}
{{- $_ := set $job "claim" $claim }}
{{- end }}
{{- $_ := set $tenant "jobs" $jobs }}
{{- toJson $tenant }}
{{- end }}

{{/*
The schedule of a job. Its first minute is a digest of tenant and job, so that it is the same for ever and those of many
tenants are spread.
*/}}
{{- define "proofpull.schedule" -}}
{{- $every := int .every }}
{{- $first := mod (printf "0x%s" (printf "%s/%s" .tenant .id | sha256sum | trunc 8) | int64) $every }}
{{- if eq $every 1 }}* * * * *
{{- else if eq $every 60 }}{{ $first }} * * * *
{{- else }}{{ $first }}-59/{{ $every }} * * * *
{{- end }}
{{- end }}
