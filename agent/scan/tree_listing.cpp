#include "agent/scan/tree_listing.h"

#include <chrono>
#include <map>
#include <thread>

#include "common/base/file_time.h"

namespace roamstead::agent {
namespace {

constexpr int kMostRounds = 40;
constexpr auto kPause = std::chrono::milliseconds(25);  // longer than a tick
constexpr std::size_t kMostLevelsListed = 1024;

struct Folder {
  std::string path;  // in the profile
  ItemStamp stamp;   // before it was listed
  bool unsettled = false;
  std::vector<ScannedItem> items;
};

class Lister {
 public:
  Lister(ScanSource& source, const std::string& root,
         const std::function<bool(const std::string& path)>& leaves_out)
      : source_(source), root_path_(root), leaves_out_(leaves_out) {}

  Result<TreeListing> run() {
    RS_TRY(const auto root, source_.look(root_path_));
    root_ = root;
    RS_CHECK(list_below(root.record, "", root.stamp));
    for (int round = 0; round < kMostRounds; ++round) {
      RS_TRY(const bool quiet, look_again());
      if (quiet) return collect();
      std::this_thread::sleep_for(kPause);
    }
    return fail(ErrorCode::busy, root_path_ + ": folders were changed all the time while it was scanned");
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
      Folder folder;
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
    for (auto& [record, folder] : folders_)
      for (auto& item : folder.items) {
        auto& listed = listing.items[item.record];
        listed.record = item.record;
        listed.sequence = item.sequence;
        listed.directory = item.directory;
        listed.stamp = item.stamp;
        listed.names.push_back({record, std::move(item.name)});
      }
    return listing;
  }

  ScanSource& source_;
  const std::string root_path_;
  const std::function<bool(const std::string& path)>& leaves_out_;
  ScannedItem root_;
  std::unordered_map<std::uint64_t, Folder> folders_;  // by record
};

}  // namespace

Result<TreeListing> list_tree(ScanSource& source, const std::string& profile_root,
                              const std::string& staging_root,
                              const std::function<bool(const std::string& path)>& leaves_out) {
  // First: what gets its name meanwhile is found where it has it.
  const auto staging = source.look(staging_root);
  std::vector<ScannedItem> staged;
  if (staging) {
    RS_TRY(staged, source.list_to_scan(staging_root));
  } else if (staging.error().code != ErrorCode::not_found) {
    return fail(staging.error());
  }
  RS_TRY(auto listing, Lister(source, profile_root, leaves_out).run());
  if (!staging) return listing;
  listing.staging = staging->record;
  for (auto& item : staged)
    if (listing.items.count(item.record) == 0)
      listing.items[item.record] = {
          item.record, item.sequence, item.directory, item.stamp, {{staging->record, std::move(item.name)}}};
  return listing;
}

}  // namespace roamstead::agent
