// What ../prometheus and ../grafana/dashboards have, changed: jsonnet -m DIRECTORY --tla-code-file config=FILE files.jsonnet
local mixin = import 'mixin.libsonnet';

function(config={})
  local unknown = std.setDiff(std.objectFields(config), std.objectFields(mixin._config));
  if unknown != [] then error 'vmxd has no setting %s, but %s' % [
    std.join(', ', unknown),
    std.join(', ', std.objectFields(mixin._config)),
  ]
  else (mixin + { _config+:: config }).files
