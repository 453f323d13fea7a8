// The rules, alerts and dashboards of vmxd as a monitoring mixin. They are read from ../prometheus and ../grafana; with the
// defaults nothing in them changes.
local edit = import 'edit.libsonnet';

local recording = std.parseYaml(importstr '../prometheus/recording.rules.yml');
local required = std.parseYaml(importstr '../prometheus/required.rules.yml');
local alerts = std.parseYaml(importstr '../prometheus/alerts.rules.yml');
local dashboards = {
  'vmx-fleet.json': import '../grafana/dashboards/vmx-fleet.json',
  'vmx-host.json': import '../grafana/dashboards/vmx-host.json',
  'vmx-feature.json': import '../grafana/dashboards/vmx-feature.json',
};

local theirs = {
  local first = alerts.groups[0].rules[0],
  local labels = [rule.labels for rule in required.groups[0].rules],

  runbookURL: std.strReplace(first.annotations.runbook_url, first.alert, '%s'),
  jobs: [each.job for each in labels if std.objectHas(each, 'job')],
  required: [each for each in labels if !std.objectHas(each, 'job')],
};

{
  _config+:: {
    // Label matchers for every series that vmxd exposes, as in: job="vmxd",env="prod"
    selector: '',
    // The label that names a pool of hosts; a cluster is one, unless poolLabel says otherwise.
    clusterLabel: 'cluster',
    poolLabel: self.clusterLabel,
    // Where runbooks are; %s is the name of the alert.
    runbookURL: theirs.runbookURL,
    // The jobs that scrape vmxd.
    jobs: theirs.jobs,
    // What hosts must have: {feature: 'pml'} or {profile: 'windows-vbs'}, and the pool's label for hosts of one pool.
    required: theirs.required,
    // VmxHostLacksWhatPeersHave: what share of the hosts with one CPU model must have a feature, 0 to 1.
    peersShare: 0.5,
    // How long alerts wait, by alert: {VmxdDown: '30m'}
    pending: {},
    // How often groups of rules are evaluated, by group: {'vmx-features': '1m'}
    interval: {},
  },

  local config = $._config,

  local renamed(text) = edit.word(text, 'cluster', config.poolLabel),

  // In templates queries are strings, which printf formats.
  local quoted = std.foldl(
    function(text, char) std.strReplace(text, char[0], char[1]),
    [['\\', '\\\\'], ['"', '\\"'], ['%', '%%']],
    config.selector
  ),

  local share(text) =
    if config.peersShare == 0.5 then text
    else std.strReplace(
      std.strReplace(text, ' > 0.5', ' > %g' % config.peersShare),
      'More than half',
      'More than %g %%' % (100 * config.peersShare)
    ),

  local rule(original) =
    local each = edit.strings(original, function(key, text) renamed(text));
    each { expr: edit.select(each.expr, config.selector) },

  local alert(original) =
    local each = rule(original);
    local text = if each.alert == 'VmxHostLacksWhatPeersHave' then share else function(text) text;
    each {
      expr: text(each.expr),
      'for': std.get(config.pending, each.alert, each['for']),
      annotations: std.mapWithKey(
        function(name, value) edit.select(text(value), quoted), each.annotations
      ) + { runbook_url: config.runbookURL % each.alert },
    },

  local groups(document, change) = {
    groups: [
      group + { rules: std.map(change, group.rules) } + (
        if std.objectHas(config.interval, group.name) then { interval: config.interval[group.name] } else {}
      )
      for group in document.groups
    ],
  },

  local requirement(labels) = {
    record:
      if std.objectHas(labels, 'job') then 'job:vmx_targets:expected'
      else if std.objectHas(labels, 'profile') then 'pool:vmx_profile:required'
      else 'pool:vmx_feature:required',
    expr: 'vector(1)',
    labels: labels,
  },

  local runbook = {
    local links = '${__value.raw}',
    before: theirs.runbookURL % links,
    after: config.runbookURL % links,
  },

  local dashboard(document) =
    edit.strings(document, function(key, text)
      if key == 'expr' || key == 'query' then edit.select(renamed(text), config.selector)
      else std.strReplace(renamed(text), runbook.before, runbook.after)),

  local settings = {
    groups: [required.groups[0] { rules: std.map(requirement, [{ job: each } for each in config.jobs] + config.required) }],
  },

  // By the names of the files that they stand for.
  files:: {
    'recording.rules.yml': groups(recording, rule),
    'required.rules.yml': groups(settings, function(each) each),
    'alerts.rules.yml': groups(alerts, alert),
  } + std.mapWithKey(function(name, document) dashboard(document), dashboards),

  prometheusRules+:: { groups+: $.files['recording.rules.yml'].groups + $.files['required.rules.yml'].groups },
  prometheusAlerts+:: { groups+: $.files['alerts.rules.yml'].groups },
  grafanaDashboards+:: { [name]: $.files[name] for name in std.objectFields(dashboards) },
}
