{{/* Names are fixed: the rights name them, and two kexers in one cluster would share one APIService. */}}

{{- define "kexer.labels" -}}
app.kubernetes.io/name: kexer
{{- end }}

{{- define "kexer.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* A file of files/rbac, with the release's namespace. */}}
{{- define "kexer.rbac" -}}
{{ .root.Files.Get (printf "files/rbac/%s" .file) | replace "namespace: kexec-system" (printf "namespace: %s" .root.Release.Namespace) }}
{{- end }}

{{- define "kexer.args" -}}
- serve
- --secure-port=6443
{{- if eq .Values.kubelet.credential "clientCertificate" }}
- --kubelet-client-certificate=/var/run/kexer/kubelet-client/tls.crt
- --kubelet-client-key=/var/run/kexer/kubelet-client/tls.key
{{- else }}
- --kubelet-service-account={{ .Release.Namespace }}/kexer-kubelet
{{- end }}
- --peer-service={{ .Release.Namespace }}/kexer
- --peer-token-file=/var/run/secrets/kexer/peer/token
{{- if .Values.kubelet.certificateAuthorityConfigMap }}
- --kubelet-certificate-authority=/var/run/kexer/kubelet-ca/ca.crt
{{- end }}
{{- if ne .Values.tls.secretName "kexer-serving-cert" }}
- --serving-cert-secret={{ .Values.tls.secretName }}
{{- end }}
{{- if and .Values.tls.extraNames (eq .Values.tls.type "kexer") }}
- --cert-extra-sans={{ join "," .Values.tls.extraNames }}
{{- end }}
{{- if not .Values.apiService.enabled }}
- --api-service=none
{{- end }}
{{- if .Values.impersonation.enabled }}
- --identity-impersonation
- --impersonator-service-account={{ .Release.Namespace }}/kexer-impersonator
{{- if .Values.impersonation.allowPrivileged }}
- --identity-allow-privileged
{{- end }}
{{- end }}
{{- with .Values.clusters.namespaces }}
- --cluster-namespaces={{ join "," . }}
{{- end }}
{{- with .Values.clusters.allowedEndpoints }}
- --cluster-allowed-endpoints={{ join "," . }}
{{- end }}
{{- with .Values.clusters.proxy.url }}
- --cluster-proxy-url={{ . }}
{{- end }}
{{- with .Values.clusters.proxy.noProxy }}
- --cluster-no-proxy={{ join "," . }}
{{- end }}
{{- if .Values.clusters.proxy.caConfigMap }}
- --cluster-proxy-ca-file=/var/run/kexer/cluster-proxy-ca/ca.crt
{{- end }}
{{- if .Values.clusters.proxy.credentialsSecret }}
- --cluster-proxy-credentials-file=/var/run/kexer/cluster-proxy/credentials
{{- end }}
{{- range .Values.extraArgs }}
- {{ . }}
{{- end }}
{{- end }}
