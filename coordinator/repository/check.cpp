#include "coordinator/repository/check.h"

#include <unordered_set>

#include <fmt/format.h>

#include "coordinator/repository/hive_view.h"
#include "coordinator/repository/tree.h"

namespace roamstead::repository {
namespace {

constexpr std::size_t kObjectsAtOnce = 1000;
constexpr std::size_t kMaxProblems = 1000;

class Checker {
 public:
  Checker(const PackStore& packs, const Catalog& catalog, ObjectStore& store,
          const std::function<void(std::uint64_t, std::uint64_t)>& progress)
      : packs_(packs), catalog_(catalog), store_(store), progress_(progress) {}

  Result<CheckReport> run() {
    RS_TRY(auto totals, catalog_.totals());
    total_ = totals.objects;
    RS_CHECK(check_objects());
    RS_TRY(auto profiles, catalog_.profiles());
    for (const auto& profile : profiles) RS_CHECK(check_profile(profile));
    if (suppressed_ != 0) report_.problems.push_back(std::to_string(suppressed_) + " more problems");
    return std::move(report_);
  }

 private:
  void problem(std::string text) {
    if (report_.problems.size() < kMaxProblems)
      report_.problems.push_back(std::move(text));
    else
      ++suppressed_;
  }

  // Every object the catalog knows: record, seal, id.
  Result<void> check_objects() {
    PackNumber pack;
    std::uint64_t offset = 0;
    for (;;) {
      RS_TRY(auto locations, catalog_.objects_after(pack, offset, kObjectsAtOnce));
      if (locations.empty()) return {};
      for (const auto& location : locations) {
        auto content = store_.read_verified(location);
        if (!content) {
          problem(content.error().to_string());
        } else {
          good_.insert(location.header.id);
          if (location.header.type == ObjectType::commit) check_commit(location, *content);
        }
        if (++report_.objects_checked % 64 == 0 && progress_) progress_(report_.objects_checked, total_);
      }
      pack = locations.back().pack;
      offset = locations.back().offset;
    }
  }

  void check_commit(const Location& location, const Bytes& content) {
    auto where = fmt::format("{} at offset {}", packs_.pack_path(location.pack), location.offset);
    auto record = parse_commit_record(content);
    if (!record) return problem(std::move(record).error().with(where).to_string());
    auto known = catalog_.version(record->profile, record->info.number);
    if (!known) return problem(known.error().to_string());
    if (!*known || (*known)->root != record->root || (*known)->info.parent != record->info.parent)
      problem(fmt::format(
          "{}: the catalog does not have version {} as the commit record says; rebuild the catalog", where,
          record->info.number));
    else
      commits_.insert(version_key(record->profile, record->info.number));
  }

  Result<void> check_profile(const ProfileInfo& profile) {
    RS_TRY(auto versions, catalog_.versions(profile.id));
    ProfileObjects objects(store_, profile.id);
    for (const auto& info : versions) {
      auto name = profile.name + "@" + std::to_string(info.number);
      ++report_.versions_checked;
      if (commits_.count(version_key(profile.id, info.number)) == 0)
        problem(name + ": no unbroken commit record in the packs");
      RS_TRY(auto version, catalog_.version(profile.id, info.number));
      if (!version) continue;
      auto walked = check_node(objects, name, version->root);
      if (!walked) problem(walked.error().to_string());
    }
    return {};
  }

  // Everything below a stored node. Subtrees already seen are not entered again.
  Result<void> check_node(ProfileObjects& objects, const std::string& top, ByteView value) {
    std::vector<std::pair<std::string, Bytes>> open{{top, to_bytes(value)}};
    while (!open.empty()) {
      auto [path, stored] = std::move(open.back());
      open.pop_back();
      if (auto external = ProfileObjects::external_node(stored); external && !reference(*external, path))
        continue;
      auto node = objects.load_node(stored);
      if (!node) {
        problem(std::move(node).error().with(path).to_string());
        continue;
      }
      if (node->entry.kind == profile::EntryKind::file)
        check_content(objects, path, node->unnamed, node->entry.size_bytes);
      for (std::size_t i = 0; i < node->streams.size(); ++i)
        check_content(objects, path + ":" + node->entry.streams[i].name, node->streams[i],
                      node->entry.streams[i].size_bytes);
      if (node->entry.kind == profile::EntryKind::registry) {
        check_hive(objects, path, node->children);
        continue;
      }
      auto walked = visit_new_pages(objects, KeyOrder::names, node->children, path,
                                    [&](std::string_view key, ByteView child) {
                                      open.emplace_back(path + "/" + std::string(key), to_bytes(child));
                                    });
      if (!walked) problem(std::move(walked).error().with(path).to_string());
    }
    return {};
  }

  // Every key and value of a hive that is new: its record, its content.
  void check_hive(ProfileObjects& objects, const std::string& path, const ObjectId& root) {
    HiveView hive(objects, root);
    auto root_key = hive.tree().find(place_of({}).record);
    if (!root_key) return problem(std::move(root_key).error().with(path).to_string());
    if (!*root_key) return problem(path + ": a hive without a root key");
    KeyPaths paths(hive);
    auto walked =
        visit_new_pages(objects, KeyOrder::bytes, root, path, [&](std::string_view at, ByteView stored) {
          auto checked = check_hive_entry(objects, hive, paths, path, at, stored);
          if (!checked) problem(std::move(checked).error().with(path).to_string());
        });
    if (!walked) problem(std::move(walked).error().with(path).to_string());
  }

  Result<void> check_hive_entry(ProfileObjects& objects, const HiveView& hive, KeyPaths& paths,
                                const std::string& path, std::string_view at, ByteView stored) {
    if (auto external = ProfileObjects::external_node(stored); external && !reference(*external, path))
      return {};
    RS_TRY(auto place, parse_place(at));
    if (place.is_value) {
      RS_TRY(auto value, hive.load_value(stored));
      RS_TRY(auto key, hive.tree().find(place.record));
      if (!key) return fail(ErrorCode::corrupt, "the value '" + value.name + "' has no key");
      KeyPlace key_place;
      key_place.record = std::string(place.record);
      if (value_place(key_place, value.name) != at)
        return fail(ErrorCode::corrupt, "the value '" + value.name + "' lies at another value's place");
      check_content(objects, path + " value '" + value.name + "'", value.content, value.size_bytes);
      return {};
    }
    RS_TRY(auto record, hive.load_key(stored));
    RS_TRY(auto key, paths.of(place, record));  // finds all above it
    if (place_of(key).record != place.record)
      return fail(ErrorCode::corrupt, "the key '" + key.text() + "' lies at another key's place");
    return {};
  }

  template <class OnEntry>
  Result<void> visit_new_pages(ProfileObjects& objects, KeyOrder order, const ObjectId& root,
                               const std::string& path, const OnEntry& on_entry) {
    if (root.is_zero() || walked_.count(root) != 0 || !reference(root, path)) return {};
    return PageTree(objects, order, root)
        .visit_pages([&](const ObjectId& id, const Page& page) -> Result<bool> {
          if (!walked_.insert(id).second) return false;
          for (const auto& entry : page.entries()) {
            if (page.level() == 0)
              on_entry(entry.key, entry.value);
            else if (!reference(ObjectId::from(entry.value), path))
              return false;
          }
          return true;
        });
  }

  void check_content(ProfileObjects& objects, const std::string& path, const Content& content,
                     std::uint64_t size_bytes) {
    auto check_piece = [&](const Piece& piece) {
      if (!piece.id.is_zero()) reference(piece.id, path);
    };
    if (const auto* pieces = std::get_if<std::vector<Piece>>(&content.where))
      for (const auto& piece : *pieces) check_piece(piece);
    const auto* list = std::get_if<ObjectId>(&content.where);
    if (list == nullptr || walked_.count(*list) != 0) return;
    // The pieces must fill the stream without a gap, which only a walk in order shows; then the pages count
    // as seen.
    std::uint64_t end = 0;
    auto walked =
        visit_pieces(objects, content, 0, [&](std::uint64_t offset, const Piece& piece) -> Result<bool> {
          check_piece(piece);
          end = offset + piece.length;
          return true;
        });
    if (!walked) return problem(std::move(walked).error().with(path).to_string());
    if (end != size_bytes)
      problem(path + ": its pieces have " + std::to_string(end) + " bytes, " + std::to_string(size_bytes) +
              " expected");
    walked_.insert(*list);
  }

  // Whether the object was read back unbroken.
  bool reference(const ObjectId& id, const std::string& path) {
    if (good_.count(id) != 0) return true;
    problem(path + ": needs object " + id.short_text() + ", which is missing or broken");
    return false;
  }

  static std::string version_key(const ProfileId& profile, std::uint64_t number) {
    return profile.to_string() + "@" + std::to_string(number);
  }

  const PackStore& packs_;
  const Catalog& catalog_;
  ObjectStore& store_;
  const std::function<void(std::uint64_t, std::uint64_t)>& progress_;
  CheckReport report_;
  std::uint64_t total_ = 0;
  std::uint64_t suppressed_ = 0;
  std::unordered_set<ObjectId, ObjectIdHash> good_;    // read back and verified
  std::unordered_set<ObjectId, ObjectIdHash> walked_;  // pages whose content has been followed
  std::unordered_set<std::string> commits_;
};

}  // namespace

Result<CheckReport> check_repository(const PackStore& packs, const Catalog& catalog, ObjectStore& store,
                                     const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  return Checker(packs, catalog, store, progress).run();
}

}  // namespace roamstead::repository
