{{/* What the role node needs wherever pods mount volumes. */}}
{{- define "latchkey.nodeRules" -}}
# Those that volumes of the node name, each watched by its name.
- apiGroups: [external-secrets.io]
  resources: [externalsecrets]
  verbs: [list, watch]
- apiGroups: [secretstore.external-secrets.io]
  resources: [secretstores]
  verbs: [list, watch]
- apiGroups: [generator.external-secrets.io]
  resources: [generators]
  verbs: [list, watch]
{{- if .Values.node.configMapTemplates }}
# Those that a templateFrom names are read by name, in the namespace of their ExternalSecret.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
{{- end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* What the role sync needs wherever ExternalSecrets are. */}}
{{- define "latchkey.syncRules" -}}
- apiGroups: [external-secrets.io]
  resources: [externalsecrets]
  verbs: [get, list, watch, patch]
- apiGroups: [external-secrets.io]
  resources: [externalsecrets/status]
  verbs: [patch]
# They own what they make.
- apiGroups: [external-secrets.io]
  resources: [externalsecrets/finalizers]
  verbs: [update]
- apiGroups: [secretstore.external-secrets.io]
  resources: [secretstores]
  verbs: [get, list, watch]
- apiGroups: [secretstore.external-secrets.io]
  resources: [secretstores/status]
  verbs: [patch]
- apiGroups: [generator.external-secrets.io]
  resources: [generators]
  verbs: [get, list, watch]
- apiGroups: [generator.external-secrets.io]
  resources: [generators/status]
  verbs: [patch]
# Whether what a store names has changed; watched by its metadata only.
- apiGroups: [provider.secretstore.external-secrets.io, provider.generator.external-secrets.io]
  resources: ["*"]
  verbs: [list, watch]
# What it takes to revoke generated values. Nobody else needs a verb on them.
- apiGroups: [generators.external-secrets.io]
  resources: [generatorstates]
  verbs: [list, watch, create, patch, delete]
# An ExternalSecret makes a Secret beside it, under any name. Lists and watches ask for metadata only.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, update, patch, delete]
# Those that a templateFrom names are read by name, in the namespace of their ExternalSecret.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
{{- if .Values.sync.genericTargets.enabled }}
{{- range .Values.sync.genericTargets.resources }}
# Targets of other kinds than Secret. Lists and watches ask for metadata only.
- apiGroups: {{ toJson .apiGroups }}
  resources: {{ toJson .resources }}
  verbs: [get, list, watch, create, update, delete]
{{- end }}
{{- end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* External Secrets' name for an identity beside a provider. */}}
{{- define "latchkey.sharedIdentityRule" -}}
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [external-secrets-provider-tls]
  verbs: [get]
{{- end }}
