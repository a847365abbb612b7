{{/* Labels of one component: dict "root" $ "component" "agent" "name" "release-agent" */}}
{{- define "inferwright.labels" -}}
{{ include "inferwright.selector" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}
{{- define "inferwright.selector" -}}
app.kubernetes.io/name: inferwright
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- if .engine }}
inferwright/engine: {{ .engine }}
{{- end }}
{{- end }}
{{- define "inferwright.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "inferwright.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
{{- define "inferwright.nats" -}}
{{- if .Values.nats.enabled -}}
nats://{{ .Release.Name }}-nats:4222
{{- else -}}
{{ required "nats.url says where the broker is when nats.enabled is false" .Values.nats.url }}
{{- end -}}
{{- end }}
