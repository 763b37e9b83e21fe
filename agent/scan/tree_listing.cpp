#include "agent/scan/tree_listing.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>

#include "common/base/file_time.h"

namespace roamstead::agent {
namespace {

constexpr int kMostRounds = 40;
constexpr auto kPause = std::chrono::milliseconds(25);  // longer than a tick
constexpr std::size_t kMostLevelsListed = 1024;

class Lister {
 public:
  Lister(ScanSource& source, const ListingScope& scope, ListedFolders& folders)
      : source_(source),
        root_path_(scope.profile_root),
        leaves_out_(scope.leaves_out),
        root_(folders.root),
        folders_(folders.by_record) {}

  Result<TreeListing> run() {
    RS_TRY(const auto root, source_.look(root_path_));
    root_ = root;
    folders_.clear();
    RS_CHECK(list_below(root.record, "", root.stamp));
    for (int round = 0; round < kMostRounds; ++round) {
      RS_TRY(const bool quiet, look_again());
      if (quiet) return collect();
      std::this_thread::sleep_for(kPause);
    }
    return fail(ErrorCode::busy, root_path_ + ": folders were changed all the time while it was scanned");
  }

  Result<std::optional<TreeListing>> run_changed(std::set<std::uint64_t> changed) {
    RS_TRY(const auto root, source_.look(root_path_));
    if (root.record != root_.record || !root.directory) return std::optional<TreeListing>();
    root_ = root;
    for (int round = 0; round < kMostRounds; ++round) {
      RS_TRY(const bool fits, list_again(changed));
      if (!fits) return std::optional<TreeListing>();
      auto more = source_.changed_folders();
      if (!more) return std::optional<TreeListing>();
      // What the look just before did not see yet may lie within one tick of the clock.
      std::erase_if(*more, [&](auto record) { return folders_.count(record) == 0; });
      for (const auto& [record, folder] : folders_)
        if (folder.unsettled) more->insert(record);
      if (more->empty()) {
        RS_TRY(auto listing, collect());
        return names_fit(listing) ? std::optional(std::move(listing)) : std::nullopt;
      }
      changed = std::move(*more);
      std::this_thread::sleep_for(kPause);
    }
    return std::optional<TreeListing>();
  }

 private:
  std::string on_volume(const std::string& path) const {
    return path.empty() ? root_path_ : root_path_ + "/" + path;
  }

  // Lists a folder and all below that is not listed yet.
  Result<void> list_below(std::uint64_t record, const std::string& path, const ItemStamp& stamp) {
    struct Next {
      std::uint64_t record;
      std::string path;
      ItemStamp stamp;
    };
    std::vector<Next> next{{record, path, stamp}};
    while (!next.empty()) {
      auto [number, at, before] = std::move(next.back());
      next.pop_back();
      ListedFolder folder;
      folder.path = at;
      folder.stamp = before;
      folder.unsettled = std::max(before.changed_100ns, before.written_100ns) + kTick_100ns >= now_100ns();
      auto items = source_.list_to_scan(on_volume(at));
      if (items) {
        folder.items = std::move(*items);
      } else if (items.error().code == ErrorCode::not_found) {
        folder.unsettled = true;  // the folder above will tell
      } else {
        return fail(std::move(items).error().with(on_volume(at)));
      }
      for (const auto& item : folder.items) {
        if (!item.directory || folders_.count(item.record) != 0) continue;
        const auto below = at.empty() ? item.name : at + "/" + item.name;
        if (std::count(below.begin(), below.end(), '/') > static_cast<std::ptrdiff_t>(kMostLevelsListed) ||
            leaves_out_(below))
          continue;
        next.push_back({item.record, below, item.stamp});
      }
      folders_[number] = std::move(folder);
    }
    return {};
  }

  // True: all folders reached from the root are as they were when they were listed.
  Result<bool> look_again() {
    bool quiet = true;
    std::unordered_map<std::uint64_t, std::string> reached;
    struct Next {
      std::uint64_t record;
      std::string path;
    };
    std::vector<Next> next{{root_.record, ""}};
    while (!next.empty()) {
      auto [number, at] = std::move(next.back());
      next.pop_back();
      if (!reached.emplace(number, at).second) {
        quiet = false;  // at two places: it was moved meanwhile
        continue;
      }
      const auto now = source_.look(on_volume(at));
      if (!now && now.error().code != ErrorCode::not_found) return fail(now.error());
      if (!now || now->record != number || !now->directory) {
        quiet = false;  // the folder above has changed, or will be seen to have
        unsettle_parent(at, reached);
        continue;
      }
      auto& folder = folders_[number];
      folder.path = at;
      if (folder.unsettled || now->stamp != folder.stamp) {
        quiet = false;
        RS_CHECK(list_below(number, at, now->stamp));
      }
      for (const auto& item : folders_[number].items) {
        if (!item.directory) continue;
        const auto below = at.empty() ? item.name : at + "/" + item.name;
        if (folders_.count(item.record) != 0 && !leaves_out_(below)) {
          next.push_back({item.record, below});
        } else if (folders_.count(item.record) == 0 && !leaves_out_(below)) {
          quiet = false;
          RS_CHECK(list_below(item.record, below, item.stamp));
        }
      }
    }
    std::erase_if(folders_, [&](const auto& known) { return reached.count(known.first) == 0; });
    return quiet;
  }

  // From the root downwards, so that the paths are those of now. False: a folder is not where its parent's
  // listing has it.
  Result<bool> list_again(std::set<std::uint64_t> changed) {
    std::set<std::uint64_t> reached;
    struct Next {
      std::uint64_t record;
      std::string path;
    };
    std::vector<Next> next{{root_.record, ""}};
    while (!next.empty()) {
      auto [number, at] = std::move(next.back());
      next.pop_back();
      if (!reached.insert(number).second) return false;
      const auto known = folders_.find(number);
      if (known == folders_.end() || changed.count(number) != 0) {
        const auto now = source_.look(on_volume(at));
        if (!now && now.error().code == ErrorCode::not_found) return false;
        if (!now) return fail(now.error());
        if (now->record != number || !now->directory) return false;
        RS_CHECK(list_below(number, at, now->stamp));
        // Also another folder with the record of one that is gone.
        for (const auto& item : folders_[number].items)
          if (const auto below = folders_.find(item.record);
              item.directory && below != folders_.end() && below->second.stamp != item.stamp)
            changed.insert(item.record);
      } else {
        known->second.path = at;
      }
      for (const auto& item : folders_[number].items) {
        if (!item.directory) continue;
        auto below = at.empty() ? item.name : at + "/" + item.name;
        if (!leaves_out_(below)) next.push_back({item.record, std::move(below)});
      }
    }
    std::erase_if(folders_, [&](const auto& known) { return reached.count(known.first) == 0; });
    return true;
  }

  // What has more names than it can have was moved from a folder of which nobody said that it changed.
  static bool names_fit(const TreeListing& listing) {
    return std::none_of(listing.items.begin(), listing.items.end(), [](const auto& each) {
      const auto& item = each.second;
      const auto most = item.directory ? 1 : item.stamp.links;
      return most != 0 && item.names.size() > most;
    });
  }

  void unsettle_parent(const std::string& path,
                       const std::unordered_map<std::uint64_t, std::string>& reached) {
    const auto slash = path.rfind('/');
    const auto up = slash == std::string::npos ? std::string() : path.substr(0, slash);
    for (const auto& [record, at] : reached)
      if (at == up) folders_[record].unsettled = true;
  }

  Result<TreeListing> collect() {
    TreeListing listing;
    listing.root = root_.record;
    auto& root = listing.items[root_.record];
    root = {root_.record, root_.sequence, true, root_.stamp, {}};
    for (const auto& [record, folder] : folders_)
      for (const auto& item : folder.items) {
        auto& listed = listing.items[item.record];
        // Of the names that a file has, one may lie in a folder that was listed earlier.
        const bool later = listed.names.empty() || item.stamp.changed_100ns > listed.stamp.changed_100ns;
        listed.record = item.record;
        listed.sequence = item.sequence;
        listed.directory = item.directory;
        if (later) listed.stamp = item.stamp;
        listed.names.push_back({record, item.name});
      }
    return listing;
  }

  ScanSource& source_;
  const std::string& root_path_;
  const std::function<bool(const std::string& path)>& leaves_out_;
  ScannedItem& root_;
  std::unordered_map<std::uint64_t, ListedFolder>& folders_;
};

// What lies in staging, with the folder itself.
struct Staged {
  std::uint64_t folder = 0;
  std::vector<ScannedItem> items;
};
Result<std::optional<Staged>> list_staging(ScanSource& source, const std::string& path) {
  const auto staging = source.look(path);
  if (!staging && staging.error().code == ErrorCode::not_found) return std::optional<Staged>();
  if (!staging) return fail(staging.error());
  Staged staged;
  staged.folder = staging->record;
  RS_TRY(staged.items, source.list_to_scan(path));
  return std::optional(std::move(staged));
}

void add_staged(TreeListing& listing, std::optional<Staged> staged) {
  if (!staged) return;
  listing.staging = staged->folder;
  for (auto& item : staged->items)
    if (listing.items.count(item.record) == 0)
      listing.items[item.record] = {
          item.record, item.sequence, item.directory, item.stamp, {{staged->folder, std::move(item.name)}}};
}

}  // namespace

// Staging first: what gets its name meanwhile is found where it has it.
Result<TreeListing> list_tree(ScanSource& source, const ListingScope& scope, ListedFolders& folders) {
  RS_TRY(auto staged, list_staging(source, scope.staging_root));
  RS_TRY(auto listing, Lister(source, scope, folders).run());
  add_staged(listing, std::move(staged));
  return listing;
}

Result<std::optional<TreeListing>> list_changed(ScanSource& source, const ListingScope& scope,
                                                ListedFolders& folders, std::set<std::uint64_t> changed) {
  RS_TRY(auto staged, list_staging(source, scope.staging_root));
  RS_TRY(auto listing, Lister(source, scope, folders).run_changed(std::move(changed)));
  if (listing) add_staged(*listing, std::move(staged));
  return listing;
}

}  // namespace roamstead::agent
