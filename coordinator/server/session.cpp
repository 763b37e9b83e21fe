#include "coordinator/server/session.h"

#include <algorithm>

#include "common/base/sha256.h"

namespace roamstead::server {

std::uint64_t Incarnation::last_ordinal() const {
  return std::max(row.noted_ordinal, by_ordinal.empty() ? 0 : by_ordinal.rbegin()->first);
}

Incarnation::Committed Incarnation::at(std::uint64_t ordinal) const {
  auto after = by_ordinal.upper_bound(ordinal);
  if (after == by_ordinal.begin()) return {row.base_version, false, row.base_version};
  return std::prev(after)->second;
}

Guid Incarnation::snapshot_of(std::uint64_t ordinal) const {
  if (const auto found = by_ordinal.find(ordinal); found != by_ordinal.end()) return found->second.snapshot;
  return ordinal == row.noted_ordinal ? row.noted_snapshot : Guid();
}

Guid after_set_back(const Guid& incarnation) {
  Bytes text = to_bytes(as_bytes("set back: "));
  text.insert(text.end(), incarnation.bytes.begin(), incarnation.bytes.end());
  const auto digest = sha256(text);
  Guid name;
  std::copy_n(digest.begin(), name.bytes.size(), name.bytes.begin());
  return name;
}

Incarnation* Session::find(const Guid& incarnation) {
  for (auto& known : incarnations)
    if (known.row.incarnation == incarnation) return &known;
  return nullptr;
}

std::uint64_t Session::tip() const { return incarnations.back().tip(); }

Guid Session::last_snapshot() const {
  for (auto it = incarnations.rbegin(); it != incarnations.rend(); ++it)
    if (!it->snapshot.is_zero()) return it->snapshot;
  return {};
}

std::set<Guid> Session::snapshots() const {
  std::set<Guid> all;
  for (const auto& each : incarnations) {
    all.insert({each.snapshot, each.row.noted_snapshot});
    for (const auto& [ordinal, committed] : each.by_ordinal) all.insert(committed.snapshot);
  }
  all.erase(Guid());
  return all;
}

std::uint64_t Session::version_of(const Guid& snapshot) const {
  if (snapshot.is_zero()) return row.version;
  for (auto each = incarnations.rbegin(); each != incarnations.rend(); ++each) {
    for (const auto& [ordinal, committed] : each->by_ordinal)
      if (committed.snapshot == snapshot) return committed.version;
    if (each->row.noted_snapshot == snapshot) return each->at(each->row.noted_ordinal).version;
  }
  return row.version;
}

Result<std::shared_ptr<Session>> restore_session(const SessionRow& row, const StateStore& store,
                                                 const repository::Repository& repository) {
  auto session = std::make_shared<Session>();
  session->row = row;
  RS_TRY(auto rows, store.incarnations(row.id));
  if (rows.empty()) return fail(ErrorCode::corrupt, "session " + row.id.to_string() + " has no incarnation");
  for (const auto& known : rows) session->incarnations.push_back({known, {}, known.noted_snapshot});
  RS_TRY(auto versions, repository.versions(row.profile));
  std::map<std::uint64_t, std::uint64_t> merged_by;
  for (const auto& version : versions)
    if (version.merged != 0) merged_by[version.merged] = version.number;
  for (const auto& version : versions) {
    if (version.session != row.id) continue;
    auto* incarnation = session->find(version.incarnation);
    if (incarnation == nullptr) {
      // The state store was set back to before it gave that one out, or never did: what it committed counts
      // all the same, and what follows builds on it.
      IncarnationRow missing{version.incarnation, 0, version.parent, 0, {}};
      incarnation =
          &*session->incarnations.insert(session->incarnations.begin(), Incarnation{missing, {}, {}});
    }
    auto merged = merged_by.find(version.number);
    auto on_head = merged == merged_by.end() ? version.number : merged->second;
    incarnation->by_ordinal[version.ordinal] = {
        version.number, !version.on_head_line && merged == merged_by.end(), on_head,
        version.kind == repository::VersionKind::concurrent && merged == merged_by.end(), version.snapshot};
    if (version.ordinal > incarnation->row.noted_ordinal &&
        version.ordinal == incarnation->by_ordinal.rbegin()->first)
      incarnation->snapshot = version.snapshot;
  }
  return session;
}

}  // namespace roamstead::server
