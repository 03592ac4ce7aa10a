{{- define "provider.fullname" -}}
provider-{{ .Release.Name }}
{{- end }}

{{- define "provider.selectorLabels" -}}
app.kubernetes.io/name: provider
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "provider.labels" -}}
{{ include "provider.selectorLabels" . }}
app.kubernetes.io/component: provider
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end }}

{{- define "provider.image" -}}
{{ .Values.image.repository | default (printf "docker.io/latchkey/provider-%s" .Values.provider.type) }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "provider.replicas" -}}
{{- if kindIs "invalid" .Values.replicaCount }}{{ ternary 1 2 (eq .Values.provider.type "fake") }}{{ else }}{{ .Values.replicaCount | int }}{{ end }}
{{- end }}

{{- define "provider.namespaces" -}}
{{- .Values.rbac.namespaces | default (list .Release.Namespace) | uniq | toJson }}
{{- end }}

{{- define "provider.credentialNamespaces" -}}
{{- .Values.rbac.credentialNamespaces | default (list .Release.Namespace) | uniq | toJson }}
{{- end }}

{{/* Rules for the provider objects of this type. */}}
{{- define "provider.objectRules" -}}
{{- if eq .Values.provider.type "generators" }}
- apiGroups: [provider.generator.external-secrets.io]
  resources: [passwords, uuids, fakes]
  verbs: [get, list, watch]
{{- else }}
- apiGroups: [provider.secretstore.external-secrets.io]
  resources: [{{ get (dict "vault" "hashicorpvaults" "fake" "fakes") .Values.provider.type }}]
  verbs: [get, list, watch]
{{- end }}
{{- end }}

{{/* Rules for credentials: named reads only, no list and no watch. Generators have none. */}}
{{- define "provider.credentialRules" -}}
{{- if ne .Values.provider.type "generators" }}
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [get]
{{- if eq .Values.provider.type "vault" }}
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get]
- apiGroups: [""]
  resources: [serviceaccounts/token]
  verbs: [create]
{{- end }}
{{- end }}
{{- end }}
