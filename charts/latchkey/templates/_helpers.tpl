{{- define "latchkey.fullname" -}}
{{- if contains "latchkey" .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-latchkey" (.Release.Name | trunc 41 | trimSuffix "-") }}
{{- end }}
{{- end }}

{{- define "latchkey.selectorLabels" -}}
app.kubernetes.io/name: latchkey
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "latchkey.labels" -}}
{{ include "latchkey.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end }}

{{- define "latchkey.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The service account that holds the rights of the sync role; empty if nobody does. */}}
{{- define "latchkey.syncAccount" -}}
{{- if eq .Values.sync.mode "DaemonSet" }}{{ include "latchkey.fullname" . }}-node
{{- else if eq .Values.sync.mode "Deployment" }}{{ include "latchkey.fullname" . }}-sync
{{- end }}
{{- end }}

{{/* The service account that owns the Secrets of the certificates. */}}
{{- define "latchkey.ownerAccount" -}}
{{ include "latchkey.fullname" . }}-{{ ternary "node" "sync" .Values.node.enabled }}
{{- end }}

{{- define "latchkey.certificateNamespaces" -}}
{{- .Values.certificates.namespaces | default (list .Release.Namespace) | uniq | toJson }}
{{- end }}

{{/* Flags that every agent gets. */}}
{{- define "latchkey.arguments" -}}
- --log-level={{ .Values.log.level }}
- --cluster-domain={{ .Values.certificates.clusterDomain }}
{{- $hosts := .Values.providers.allowedHosts | default (list "*.svc" (printf "*.svc.%s" .Values.certificates.clusterDomain)) }}
- --allowed-provider-hosts={{ join "," $hosts }}
- --provider-timeout={{ .Values.providers.timeout }}
- --controller-class={{ .Values.stores.controllerClass }}
- --enable-generator-state={{ .Values.generators.state }}
- --generator-gc-grace-period={{ .Values.generators.gracePeriod }}
- {{ printf "--template-left-delimiter=%s" .Values.templates.leftDelimiter | quote }}
- {{ printf "--template-right-delimiter=%s" .Values.templates.rightDelimiter | quote }}
{{- with .Values.watchNamespaces }}
- --watch-namespaces={{ join "," . }}
{{- end }}
{{- /* In the mode Disabled nobody validates stores, so none would ever be ready. */}}
- --enable-flood-gate={{ and .Values.stores.floodGate (ne .Values.sync.mode "Disabled") }}
{{- end }}

{{/* Flags of an agent with the role sync. */}}
{{- define "latchkey.syncArguments" -}}
- --sync-shards={{ .Values.sync.shards }}
- --sync-concurrency={{ .Values.sync.concurrency }}
- --sync-store-concurrency={{ .Values.sync.storeConcurrency }}
- --certificates={{ .Values.certificates.mode }}
- --certificate-namespaces={{ include "latchkey.certificateNamespaces" . | fromJsonArray | join "," }}
- --owner-service-account={{ include "latchkey.ownerAccount" . }}
- --store-requeue-interval={{ .Values.stores.requeueInterval }}
- --enable-cluster-external-secret-reconciler={{ .Values.clusterExternalSecrets.enabled }}
- --unsafe-allow-generic-targets={{ .Values.sync.genericTargets.enabled }}
{{- end }}

{{- define "latchkey.environment" -}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- end }}

{{- define "latchkey.probes" -}}
ports:
  - name: admin
    containerPort: 8081
startupProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 30
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 5
  timeoutSeconds: 3
{{- end }}
