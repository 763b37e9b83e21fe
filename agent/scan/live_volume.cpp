#include "agent/scan/live_volume.h"

#include <algorithm>

#include "agent/scan/security_form.h"
#include "common/base/file_time.h"
#include "common/base/sha256.h"
#include "common/extract/tree_before.h"

namespace roamstead::agent {
namespace {

constexpr std::size_t kMaxDepth = 2048;

}  // namespace

LiveVolume::LiveVolume(const Sources& sources, std::string spool, std::string profile_root,
                       TreeListing listing, const ntfs::FileReference& root, std::vector<CopiedFile> copies)
    : TableVolume(sources.tree, sources.files, std::move(spool), std::move(profile_root), root,
                  std::move(copies)),
      source_(sources.source),
      writable_tree_(sources.tree),
      provenance_(sources.provenance),
      earlier_(sources.earlier),
      listing_(std::move(listing)) {}

Result<std::unique_ptr<LiveVolume>> LiveVolume::make(const Sources& sources, std::string spool,
                                                     std::string profile_root, std::string staging_root,
                                                     TreeListing listing, std::vector<CopiedFile> copies) {
  // The profile's folder is the session's own: nobody puts another one in its place.
  const auto& top = listing.items.at(listing.root);
  ntfs::FileReference root{listing.root, top.sequence != 0 ? top.sequence : std::uint16_t{1}};
  std::unique_ptr<LiveVolume> volume(new LiveVolume(sources, std::move(spool), std::move(profile_root),
                                                    std::move(listing), root, std::move(copies)));
  RS_TRY(volume->known_, sources.tree.fingerprints());
  for (auto& [record, item] : volume->listing_.items) {
    std::sort(item.names.begin(), item.names.end(), [](const auto& a, const auto& b) {
      return std::tie(a.parent, a.name) < std::tie(b.parent, b.name);
    });
    const auto known = volume->known_.find(record);
    if (known == volume->known_.end() || known->second != volume->print(item, item.stamp))
      volume->changed_.insert(record);
  }
  for (const auto& [record, fingerprint] : volume->known_)
    if (!volume->has(record)) volume->changed_.insert(record);
  volume->references_[root.record] = root;
  volume->staging_root_ = std::move(staging_root);
  if (volume->listing_.staging)
    volume->references_[*volume->listing_.staging] = {*volume->listing_.staging, 1};
  return volume;
}

std::vector<std::uint64_t> LiveVolume::all() const {
  std::vector<std::uint64_t> records;
  for (const auto& [record, item] : listing_.items) records.push_back(record);
  return records;
}

std::uint64_t LiveVolume::print(const ListedItem& listed, const ItemStamp& stamp) const {
  ByteWriter text;
  text.le<std::uint64_t>(stamp.size_bytes);
  text.le<std::uint64_t>(stamp.written_100ns);
  text.le<std::uint64_t>(stamp.changed_100ns);
  text.le<std::uint32_t>(stamp.links);
  text.le<std::uint16_t>(listed.sequence);
  text.le<std::uint8_t>(listed.directory ? 1 : 0);
  for (const auto& name : listed.names) {
    text.le<std::uint64_t>(name.parent);
    text.le<std::uint32_t>(static_cast<std::uint32_t>(name.name.size()));
    text.bytes(as_bytes(name.name));
  }
  const auto value = load_le<std::uint64_t>(sha256(text.view()));
  return (value >> 1) + 1;  // never 0, and no negative number in the database
}

Result<std::uint64_t> LiveVolume::fingerprint(std::uint64_t record) const {
  const auto listed = listing_.items.find(record);
  if (listed == listing_.items.end()) return std::uint64_t{0};
  if (changed_.count(record) == 0) return known_.at(record);
  if (const auto* copy = copy_of(record))  // later than that nothing of it was looked at
    return print(listed->second,
                 {copy->size_bytes, copy->written_100ns, copy->changed_100ns, listed->second.stamp.links});
  RS_TRY(const auto* looked, look_at(record));
  const auto latest = std::max(looked->stamp.changed_100ns, looked->stamp.written_100ns);
  return latest + kTick_100ns >= looked->at_100ns ? 0 : print(listed->second, looked->stamp);
}

Result<bool> LiveVolume::is_unchanged(std::uint64_t record) const {
  const auto looked = looked_.find(record);
  if (looked == looked_.end()) return true;
  RS_TRY(const auto path, path_on_volume(record));
  const auto now = source_.look(path);
  if (!now) return now.error().code == ErrorCode::not_found ? Result<bool>(false) : fail(now.error());
  return now->record == record && now->stamp == looked->second.stamp;
}

std::optional<std::string> LiveVolume::blocked(std::uint64_t record) const {
  const auto looked = looked_.find(record);
  return looked == looked_.end() ? std::nullopt : looked->second.blocked;
}

void LiveVolume::forget(std::uint64_t record) {
  std::vector<std::uint64_t> next{record};
  while (!next.empty()) {
    const auto number = next.back();
    next.pop_back();
    const auto found = listing_.items.find(number);
    if (found == listing_.items.end() || number == root().record) continue;
    const bool directory = found->second.directory;
    listing_.items.erase(found);
    looked_.erase(number);
    if (known_.count(number) != 0) {
      changed_.insert(number);
    } else {
      changed_.erase(number);
    }
    if (!directory) continue;
    for (auto& [child, item] : listing_.items) {
      std::erase_if(item.names, [&](const auto& name) { return name.parent == number; });
      if (item.names.empty() && child != root().record) next.push_back(child);
    }
  }
  by_parent_.clear();
}

Error LiveVolume::gone(const std::string& path) const {
  disturbed_ = true;
  return Error(ErrorCode::corrupt, path + ": moved or replaced while it was looked at");
}

Result<std::string> LiveVolume::path_on_volume(std::uint64_t record) const {
  std::string path;
  for (std::size_t depth = 0; depth < kMaxDepth; ++depth) {
    if (record == root().record) return path.empty() ? profile_root() : profile_root() + "/" + path;
    if (record == listing_.staging) return staging_root_ + "/" + path;
    const auto item = listing_.items.find(record);
    if (item == listing_.items.end() || item->second.names.empty()) return fail(gone(path));
    const auto& name = item->second.names.front();
    path = path.empty() ? name.name : name.name + "/" + path;
    record = name.parent;
  }
  return fail(gone(path));
}

Result<ntfs::FileReference> LiveVolume::reference(std::uint64_t record) const {
  if (const auto known = references_.find(record); known != references_.end()) return known->second;
  RS_TRY(const auto file, this->record(record));
  references_[record] = file.reference;
  return file.reference;
}

bool LiveVolume::is_same_item(const SavedItem& known, const ItemDetails& details) const {
  if (known.created_100ns == details.created_100ns) return true;
  const auto item = provenance_ == nullptr ? nullptr : provenance_->find_by_record(known.record);
  if (item == nullptr || item->identity.record != known.record ||
      item->identity.created_100ns != details.created_100ns)
    return false;
  if (item->previous_identity.record == known.record &&
      item->previous_identity.created_100ns == known.created_100ns)
    return true;
  // Changed more than once since.
  const auto then = extract::find_item(earlier_, known.to_record());
  return then != nullptr && then->id == item->id;
}

Result<std::vector<std::uint64_t>> LiveVolume::in_replaced_folders() const {
  std::vector<std::uint64_t> records;
  for (const auto number : changed_) {
    const auto listed = listing_.items.find(number);
    if (listed == listing_.items.end() || !listed->second.directory || number == root().record) continue;
    RS_TRY(const auto known, tree_.find(number));
    if (!known) continue;
    RS_TRY(const auto now, reference(number));
    if (now.sequence == known->sequence) continue;
    RS_TRY(const auto children, list(number));
    for (const auto& child : children) records.push_back(child.reference.record);
  }
  return records;
}

// Where the volume does not tell it, the time of creation tells one file from the next with its record, as it
// does in the journal, which also knows where a program changed that time.
Result<std::uint16_t> LiveVolume::sequence(const ListedItem& listed, const ItemDetails& details) const {
  if (listed.sequence != 0) return listed.sequence;
  RS_TRY(const auto known, tree_.find(listed.record));
  if (!known) return std::uint16_t{1};
  if (known->directory == listed.directory && is_same_item(*known, details)) return known->sequence;
  return static_cast<std::uint16_t>(known->sequence == 0xFFFF ? 1 : known->sequence + 1);
}

// As the tree or the journal has it, where that says the same: systems give the parts in an order of their
// own.
Result<Bytes> LiveVolume::security(std::uint64_t record, Bytes told) const {
  if (told.empty()) return told;
  RS_TRY(const auto known, tree_.find(record));
  if (known && known->security != 0) {
    RS_TRY(auto saved, tree_.security(known->security));
    if (says_the_same(saved, told)) return saved;
  }
  if (provenance_ == nullptr) return told;
  const auto item = provenance_->find_by_record(record);
  if (item != nullptr && says_the_same(item->entry.metadata.security, told))
    return item->entry.metadata.security;
  return told;
}

Result<const LiveVolume::Looked*> LiveVolume::look_at(std::uint64_t number) const {
  if (const auto found = looked_.find(number); found != looked_.end()) return &found->second;
  const auto& listed = listing_.items.at(number);
  RS_TRY(const auto path, path_on_volume(number));
  Looked looked;
  looked.at_100ns = now_100ns();
  auto details = source_.details(path);
  if (!details && details.error().code == ErrorCode::not_found) return fail(gone(path));
  if (!details) return fail(std::move(details).error().with(path));
  if (details->item.record != number || details->item.directory != listed.directory) return fail(gone(path));
  looked.stamp = details->item.stamp;
  looked.blocked = std::move(details->blocked);
  auto& file = looked.file;
  file.directory = listed.directory;
  file.attributes = details->attributes;
  file.created_100ns = details->created_100ns;
  file.written_100ns = details->item.stamp.written_100ns;
  RS_TRY(const auto security, this->security(number, std::move(details->security)));
  RS_TRY(file.security_id, writable_tree_.number_of(security));
  file.reparse_tag = details->reparse_tag;
  file.reparse_data = std::move(details->reparse_data);
  for (const auto& stream : details->streams)
    file.streams.push_back(scanned_stream(number, stream.name, stream.size_bytes, stream.stored));
  if (const auto* copy = copy_of(number)) {
    std::erase_if(file.streams, [](const auto& stream) { return stream.name.empty(); });
    file.streams.push_back(scanned_stream(number, "", copy->size_bytes, true));
  }
  if (number == root().record) {
    file.reference = root();
  } else {
    RS_TRY(const auto sequence_number, sequence(listed, *details));
    file.reference = {number, sequence_number};
    references_[number] = file.reference;
    for (const auto& name : listed.names) {
      RS_TRY(const auto parent, reference(name.parent));
      file.names.push_back({parent, name.name, ntfs::NameSpace::win32});
    }
  }
  return &looked_.emplace(number, std::move(looked)).first->second;
}

Result<ntfs::FileRecord> LiveVolume::record(std::uint64_t number) const {
  if (!has(number)) {
    if (const auto* copy = copy_of(number)) return record_of(*copy);
    return fail(ErrorCode::not_found, "record " + std::to_string(number) + ": not in the profile");
  }
  if (changed_.count(number) == 0) {
    RS_TRY(const auto item, tree_.find(number));
    if (item) {
      // Its folder may be another one with the same record, in which nothing but that has changed.
      auto file = item->to_record();
      references_.emplace(number, file.reference);
      for (auto& name : file.names)
        if (has(name.parent.record)) {
          RS_TRY(name.parent, reference(name.parent.record));
        }
      return file;
    }
  }
  RS_TRY(const auto* looked, look_at(number));
  return looked->file;
}

Result<std::vector<ntfs::Volume::DirectoryEntry>> LiveVolume::list(std::uint64_t directory) const {
  if (by_parent_.empty()) {
    for (const auto& [record, item] : listing_.items)
      for (const auto& name : item.names) by_parent_.emplace_back(name.parent, record);
    std::sort(by_parent_.begin(), by_parent_.end());
  }
  std::vector<DirectoryEntry> entries;
  for (auto at =
           std::lower_bound(by_parent_.begin(), by_parent_.end(), std::pair(directory, std::uint64_t{0}));
       at != by_parent_.end() && at->first == directory; ++at) {
    if (at != by_parent_.begin() && *std::prev(at) == *at) continue;  // two names in one folder
    const auto& item = listing_.items.at(at->second);
    for (const auto& name : item.names) {
      if (name.parent != directory) continue;
      RS_TRY(const auto child, reference(at->second));
      entries.push_back({name.name, child});
    }
  }
  return entries;
}

Result<void> LiveVolume::read_live(const ntfs::StreamInfo& stream, std::uint64_t offset,
                                   MutableByteView out) const {
  if (open_ == nullptr || open_->record() != stream.record || open_->stream() != stream.name) {
    open_ = nullptr;
    RS_TRY(const auto path, path_on_volume(stream.record));
    auto opened = source_.open_to_read(path, stream.name);
    if (!opened) switch (opened.error().code) {
        case ErrorCode::not_found:
          return fail(gone(path));
        case ErrorCode::busy:
        case ErrorCode::denied:
          met_open_files_ = true;
          return fail(ErrorCode::unsupported,
                      "open in a program that shares it with nobody: " + opened.error().to_string());
        default:
          return fail(std::move(opened).error());
      }
    if ((*opened)->record() != stream.record) return fail(gone(path));
    open_ = std::move(*opened);
  }
  RS_TRY(const auto count, open_->read(offset, out));
  if (count == out.size()) return {};
  return fail(gone("record " + std::to_string(stream.record)));  // shorter by now
}

}  // namespace roamstead::agent
