{{- /* What several objects say alike. Values that make no sense together are refused here. */}}

{{- define "weir.labels" -}}
app.kubernetes.io/name: {{ . }}
app.kubernetes.io/part-of: weir
{{- end }}

{{- define "weir.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ $tag }}{{ end }}
{{- end }}

{{- define "weir.ca" -}}
{{- if eq .Values.ca.provider "controller" -}}
https://weir-controller.{{ .Release.Namespace }}.svc:15012
{{- else if eq .Values.ca.provider "node" -}}
local:{{ .Values.ca.hostPath }}
{{- else -}}
{{ required "ca.address is needed where ca.provider is external" .Values.ca.address }}
{{- end -}}
{{- end }}

{{- define "weir.is-in-its-namespace" -}}
{{- if ne .Release.Namespace "weir-system" }}
{{- fail "Weir's namespace is weir-system, where policies are for the whole mesh: helm install --namespace weir-system" }}
{{- end }}
{{- end }}
