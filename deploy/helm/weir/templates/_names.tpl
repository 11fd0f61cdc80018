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

{{- define "weir.pods" -}}
{{- $pods := .Values.agent.pods | default (ternary "slices" "all" (eq .Values.ca.provider "controller")) -}}
{{- if and (eq $pods "slices") (ne .Values.ca.provider "controller") }}
{{- fail "agent.pods: slices needs the controller, which writes them: ca.provider is not controller" }}
{{- end }}
{{- $pods }}
{{- end }}

{{- define "weir.is-in-its-namespace" -}}
{{- if ne .Release.Namespace "weir-system" }}
{{- fail "Weir's namespace is weir-system, where policies are for the whole mesh: helm install --namespace weir-system" }}
{{- end }}
{{- end }}
