// Changes to PromQL and templates by whole words, since Jsonnet has no regular expressions.
local isOfWord(char) =
  std.member('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_:', char);

// The length of the word that a text begins with.
local wordLength(text, from=0) =
  if from < std.length(text) && isOfWord(text[from]) then wordLength(text, from + 1) else from;

local last(text) = if text == '' then ' ' else text[std.length(text) - 1];

// Split a text at each place of another, and join the first part with follow(before, after) for each of the rest.
local each(text, separator, follow) =
  if std.strReplace(text, separator, '') == text then text else
    local parts = std.split(text, separator);
    parts[0] + std.join('', [follow(parts[i - 1], parts[i]) for i in std.range(1, std.length(parts) - 1)]);

{
  // Apply change(key, text) to every string of a document, and change('', key) to every key.
  strings(value, change, key='')::
    if std.isString(value) then change(key, value)
    else if std.isArray(value) then [$.strings(item, change, key) for item in value]
    else if std.isObject(value) then {
      [change('', name)]: $.strings(value[name], change, name)
      for name in std.objectFields(value)
    }
    else value,

  // Replace a word.
  word(text, old, new)::
    each(text, old, function(before, after)
      (if isOfWord(last(before)) || wordLength(after) > 0 then old else new) + after),

  // Add label matchers to the selectors of what vmxd exposes (vmx_..., vmxd_...); what rules record (...:vmx_...:...) has them.
  select(query, matchers)::
    if matchers == '' then query
    else each(std.strReplace(query, '{__name__', '{' + matchers + ',__name__'), 'vmx', function(before, after)
      local name = std.substr(after, 0, wordLength(after));
      local rest = std.substr(after, std.length(name), std.length(after));
      local isMetric = (std.startsWith(name, '_') || std.startsWith(name, 'd_')) && !std.member(name, ':')
                       && !isOfWord(last(before)) && !std.member('"|', last(before));
      'vmx' + (
        if !isMetric then after
        else if std.startsWith(rest, '{') then name + '{' + matchers + ',' + std.substr(rest, 1, std.length(rest))
        else name + '{' + matchers + '}' + rest
      )),
}
