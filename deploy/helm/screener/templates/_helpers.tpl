{{- define "screener.name" -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{- define "screener.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "screener.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "screener.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "screener.claim" -}}
{{- .Values.persistence.existingClaim | default (include "screener.name" .) -}}
{{- end }}

{{/* The pod of a run or of the worker: everything but the container's arguments, probes and ports. */}}
{{- define "screener.pod" -}}
serviceAccountName: {{ include "screener.name" . }}
automountServiceAccountToken: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- with (.Values.podSecurity).runAsUser }}
  runAsUser: {{ . }}
  {{- end }}
  {{- with (.Values.podSecurity).runAsGroup }}
  runAsGroup: {{ . }}
  {{- end }}
  {{- with (.Values.podSecurity).fsGroup }}
  fsGroup: {{ . }}
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: settings
    configMap:
      name: {{ include "screener.name" . }}
  - name: temporary
    emptyDir: {}
  - name: state
    {{- if .Values.persistence.enabled }}
    persistentVolumeClaim:
      claimName: {{ include "screener.claim" . }}
    {{- else }}
    emptyDir: {}
    {{- end }}
  {{- if .Values.secretName }}
  - name: secrets
    secret:
      secretName: {{ .Values.secretName }}
      defaultMode: 0440
  {{- end }}
{{- end }}

{{- define "screener.container" -}}
image: {{ include "screener.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - name: SCREENER_CONFIG
    value: /etc/screener/screener.toml
  {{- if eq .Values.mode "worker" }}
  - name: SCREENER_METRICS_ADDRESS
    value: 0.0.0.0:{{ .Values.metrics.port }}
  - name: SCREENER_SCHEDULE_NIGHTLY
    value: {{ .Values.schedule.nightly | quote }}
  - name: SCREENER_SCHEDULE_BACKFILL
    value: {{ .Values.schedule.backfill | quote }}
  - name: SCREENER_SCHEDULE_TIMEZONE
    value: {{ .Values.schedule.timeZone | quote }}
  {{- end }}
{{- if .Values.environmentSecretName }}
envFrom:
  - secretRef:
      name: {{ .Values.environmentSecretName }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - name: settings
    mountPath: /etc/screener
    readOnly: true
  - name: temporary
    mountPath: /tmp
  - name: state
    mountPath: /var/lib/screener
  {{- if .Values.secretName }}
  - name: secrets
    mountPath: /run/secrets/screener
    readOnly: true
  {{- end }}
{{- end }}
