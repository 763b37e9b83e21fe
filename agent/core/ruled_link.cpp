#include "agent/core/ruled_link.h"

namespace roamstead::agent {

bool RuledLink::is_hidden(const profile::ProfilePath& path, bool directory) const {
  return directory ? !rules_.shows_folder(path.text()) : rules_.file(path.text()).is_left_out();
}

bool RuledLink::is_hidden(const profile::ProfilePath& path, const profile::Entry& entry) const {
  return entry.kind != profile::EntryKind::registry && is_hidden(path, entry.is_directory());
}

void RuledLink::take_out_hidden(const profile::ProfilePath& path, wire::DirectoryPart& part) const {
  std::erase_if(part.entries, [&](const profile::NamedEntry& child) {
    return profile::check_name(child.name) && is_hidden(path.child(child.name), child.entry);
  });
}

// A part of which nothing is left is not given on: to ask after its last name would mean to ask after
// nothing.
Result<wire::DirectoryPart> RuledLink::list(const Guid& session_secret, const profile::ProfilePath& path,
                                            const std::string& after) {
  for (auto from = after;;) {
    RS_TRY(auto part, link_.list(session_secret, path, from));
    if (part.entries.empty()) return part;
    from = part.entries.back().name;
    take_out_hidden(path, part);
    if (!part.entries.empty() || !part.more) return part;
  }
}

// The answers are of the first items asked for, in their order; those of hidden ones are known here.
Result<std::vector<wire::Fetched>> RuledLink::fetch(const Guid& session_secret,
                                                    const std::vector<wire::FetchItem>& items) {
  std::vector<wire::FetchItem> wanted;
  for (const auto& item : items)
    if (!is_hidden(item.path, item.directory)) wanted.push_back(item);
  std::vector<wire::Fetched> answered;
  if (!wanted.empty()) {
    RS_TRY(answered, link_.fetch(session_secret, wanted));
  }
  std::vector<wire::Fetched> all;
  std::size_t next = 0;
  for (const auto& item : items) {
    if (is_hidden(item.path, item.directory)) {
      all.emplace_back();
      continue;
    }
    if (next == answered.size()) break;
    auto& answer = answered[next++];
    if (answer.kind == wire::Fetched::Kind::directory) {
      take_out_hidden(item.path, answer.part);
      if (answer.part.entries.empty() && answer.part.more) answer = {};  // whoever wants it asks by itself
    }
    all.push_back(std::move(answer));
  }
  return all;
}

Result<profile::KeyStates> RuledLink::list_keys(const Guid& session_secret, const profile::ProfilePath& hive,
                                                const profile::KeyPath& key, profile::KeyScope scope,
                                                const std::string& cursor) {
  if (!rules_.has_registry_rules()) return link_.list_keys(session_secret, hive, key, scope, cursor);
  for (auto from = cursor;;) {
    RS_TRY(auto states, link_.list_keys(session_secret, hive, key, scope, from));
    std::erase_if(states.keys,
                  [&](const profile::KeyState& state) { return !rules_.shows_key(hive, state.path); });
    for (auto& state : states.keys)
      std::erase_if(state.values, [&](const profile::RegistryValue& value) {
        return rules_.value(hive, state.path, value.name).is_left_out();
      });
    if (!states.keys.empty() || states.next.empty()) return states;
    if (states.next == from)
      return fail(ErrorCode::protocol, "keys of " + hive.text() + ": the same part again and again");
    from = states.next;
  }
}

}  // namespace roamstead::agent
