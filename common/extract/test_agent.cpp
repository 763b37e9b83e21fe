#include "common/extract/test_agent.h"

#include <algorithm>
#include <functional>

#include "common/extract/test_hives.h"

namespace roamstead::extract {
namespace {

constexpr const char* kJournal = "ProgramData/Roamstead/provenance.journal";

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}
std::string join(const std::string& directory, const std::string& name) {
  return directory.empty() ? name : directory + "/" + name;
}

}  // namespace

void DirectPrograms::make_directory(const std::string& path) {
  desktop_.volume().make_directory(on_volume(path));
}
void DirectPrograms::write(const std::string& path, const std::string& stream, std::uint64_t offset,
                           ByteView data) {
  if (!desktop_.volume().write(on_volume(path), offset, data, stream))
    throw std::runtime_error("volume full");
}
void DirectPrograms::truncate(const std::string& path, const std::string& stream, std::uint64_t size_bytes) {
  desktop_.volume().truncate(on_volume(path), size_bytes, stream);
}
void DirectPrograms::remove(const std::string& path) { desktop_.volume().remove(on_volume(path)); }
void DirectPrograms::remove_stream(const std::string& path, const std::string& stream) {
  desktop_.volume().remove_stream(on_volume(path), stream);
}
void DirectPrograms::rename(const std::string& from, const std::string& to) {
  desktop_.volume().rename(on_volume(from), on_volume(to));
}
void DirectPrograms::set_metadata(const std::string& path, const profile::Metadata& metadata) {
  desktop_.volume().set_attributes(on_volume(path), metadata.attributes);
  desktop_.volume().set_times(on_volume(path), metadata.created_100ns, metadata.written_100ns);
}
std::uint32_t DirectPrograms::attributes(const std::string& path) {
  return desktop_.volume().find(on_volume(path))->attributes & profile::kRoamingAttributes;
}

TestAgent::TestAgent(TestDesktop& desktop, TestTree& base) : DirectPrograms(desktop), base_(base) {
  JournalHeader header;
  header.session = session_;
  header.profile_root = kTestRoot;
  header.staging_root = "ProgramData/Roamstead/staging";
  journal(encode_header(header));
  const auto root = desktop_.volume().find(kTestRoot).value();
  auto entry = base_.root().entry;
  entry.metadata.created_100ns = root.created_100ns;
  entry.metadata.attributes = root.attributes & profile::kRoamingAttributes;
  journal(encode_published(next_id_, {root.record, 0, root.created_100ns}, {}, entry));
  items_[root.record] = {next_id_++, "", false, false, {}};
  by_base_[""] = root.record;
  flush_journal();
}

void TestAgent::flush_journal() {
  if (!desktop_.volume().write(kJournal, journal_bytes_, unflushed_)) throw std::runtime_error("volume full");
  journal_bytes_ += unflushed_.size();
  unflushed_.clear();
}

TestAgent::Item* TestAgent::find(const std::string& path) {
  const auto found = desktop_.volume().find(on_volume(path));
  if (!found) return nullptr;
  auto item = items_.find(found->record);
  return item == items_.end() ? nullptr : &item->second;
}

void TestAgent::note_change(const std::string& path) {
  if (const auto* item = find(path)) changed_.insert(item->id);
}

void TestAgent::populate_above(const std::string& path) {
  if (path.empty()) return;
  populate_above(parent_of(path));
  populate(parent_of(path));
}

void TestAgent::populate(const std::string& path) {
  populate_above(path);
  auto* item = find(path);
  if (item == nullptr || item->populated) return;
  const auto id = item->id;
  const auto base_path = item->base_path;
  auto& node = base_.at(base_path);
  for (const auto& [name, child] : node.children)
    if (by_base_.count(join(base_path, name)) == 0) stage(*child, join(base_path, name));
  flush_journal();
  for (const auto& [name, child] : node.children) {
    const auto child_id = items_.at(by_base_.at(join(base_path, name))).id;
    if (!desktop_.volume().find(staged(child_id))) continue;  // named before we were killed
    if (names_left_ == 0) throw Killed();
    if (names_left_ > 0) --names_left_;
    desktop_.volume().rename(staged(child_id), on_volume(join(path, name)));
  }
  journal(encode_populated(id));
  find(path)->populated = true;
}

void TestAgent::stage(const TestNode& node, const std::string& base_path) {
  auto& volume = desktop_.volume();
  const auto path = staged(next_id_);
  if (node.is_directory()) {
    volume.make_directory(path);
  } else {
    volume.make_file(path);
    if (node.entry.kind == profile::EntryKind::registry) put_file(volume, path, empty_live_hive());
  }
  Item item{next_id_, base_path, false, false, {}};
  for (const auto& [name, bytes] : node.streams) {
    if (!name.empty()) volume.write(path, 0, {}, name);
    if (!bytes.empty()) volume.truncate(path, bytes.size(), name);
    item.streams[name].base_limit = bytes.size();
  }
  volume.set_attributes(path, node.entry.metadata.attributes);
  volume.set_times(path, node.entry.metadata.created_100ns, node.entry.metadata.written_100ns);
  const auto record = volume.find(path)->record;
  journal(encode_published(next_id_++, {record, 0, node.entry.metadata.created_100ns},
                           profile::ProfilePath::parse(base_path).value(), node.entry));
  items_[record] = std::move(item);
  by_base_[base_path] = record;
}

void TestAgent::load(const std::string& path, const std::string& stream, std::uint64_t offset,
                     std::uint64_t length) {
  populate_above(path);
  auto* item = find(path);
  if (item == nullptr || item->streams.count(stream) == 0) return;
  auto& state = item->streams.at(stream);
  auto& volume = desktop_.volume();
  for (auto block = offset / kTagBlockBytes;
       block * kTagBlockBytes < std::min(offset + length, state.base_limit); ++block) {
    if (!state.loaded.insert(block).second) continue;
    const auto at = block * kTagBlockBytes;
    const auto count = std::min<std::uint64_t>(kTagBlockBytes, state.base_limit - at);
    const auto bytes = ByteView(base_.at(item->base_path).streams.at(stream)).subspan(at, count);
    state.pending[block] = block_tag(bytes);
    if (item->recovered && !all_zero(volume.read(on_volume(path), at, count, stream))) continue;
    volume.write(on_volume(path), at, bytes, stream);
  }
}

void TestAgent::dehydrate(const std::string& path) {
  populate_above(path);
  auto* item = find(path);
  if (item == nullptr || item->streams.count("") == 0) return;
  auto& node = base_.at(item->base_path);
  auto& state = item->streams.at("");
  auto& volume = desktop_.volume();
  const auto name = on_volume(path);
  if (node.entry.kind != profile::EntryKind::file) return;
  const auto& base = node.streams.at("");
  if (changed_.count(item->id) != 0 || base.empty() || volume.size(name) != base.size()) return;
  const auto there = volume.read(name, 0, base.size());
  for (std::uint64_t block = 0; block * kTagBlockBytes < base.size(); ++block) {
    if (state.loaded.count(block) == 0) return;
  }
  if (there != base) return;
  flush_tags();
  journal(encode_dehydrated(item->id));
  flush_journal();
  state.loaded.clear();
  state.pending.clear();
  const auto times = volume.find(name).value();
  volume.truncate(name, 0);
  volume.truncate(name, base.size());
  Bytes reparse(24);  // tag, length of what follows, nothing that anybody here reads
  store_le<std::uint32_t>(reparse, 0, 0x9000'601A);
  store_le<std::uint16_t>(reparse, 4, 16);
  constexpr std::uint32_t kIsReparsePoint = 0x400;
  if ((times.attributes & kIsReparsePoint) == 0) volume.set_reparse_point(name, reparse);
  volume.set_times(name, times.created_100ns, times.written_100ns);
}

void TestAgent::flush_tags() {
  for (auto& [record, item] : items_)
    for (auto& [name, state] : item.streams) {
      for (const auto& [block, tag] : state.pending) journal(encode_loaded(item.id, name, block, {tag}));
      state.pending.clear();
    }
  flush_journal();
}

void TestAgent::make_directory(const std::string& path) {
  populate_above(path);
  DirectPrograms::make_directory(path);
  items_.erase(desktop_.volume().find(on_volume(path))->record);
}

void TestAgent::write(const std::string& path, const std::string& stream, std::uint64_t offset,
                      ByteView data) {
  populate_above(path);
  const bool there = desktop_.volume().find(on_volume(path)).has_value();
  load(path, stream, offset, data.size());
  // Zeros over a block without a tag would pass for a block that was never loaded; of the last one that is
  // the part which the base has.
  std::size_t of_base = data.size();
  if (const auto* item = find(path); item != nullptr && item->streams.count(stream) != 0) {
    const auto limit = item->streams.at(stream).base_limit;
    of_base = std::min<std::uint64_t>(data.size(), limit > offset ? limit - offset : 0);
  }
  for (std::size_t at = 0; at < of_base;) {
    const auto count = std::min<std::size_t>(of_base - at, kTagBlockBytes - (offset + at) % kTagBlockBytes);
    if (all_zero(data.subspan(at, count))) {
      flush_tags();
      break;
    }
    at += count;
  }
  DirectPrograms::write(path, stream, offset, data);
  note_change(path);
  if (!there) items_.erase(desktop_.volume().find(on_volume(path))->record);  // a record used again
}

void TestAgent::truncate(const std::string& path, const std::string& stream, std::uint64_t size_bytes) {
  populate_above(path);
  if (size_bytes % kTagBlockBytes != 0) load(path, stream, size_bytes, 1);
  auto* item = find(path);
  // Without its tag, zeros written to the block that is cut would look like one that was never loaded.
  if (size_bytes % kTagBlockBytes != 0 && item != nullptr && item->streams.count(stream) != 0 &&
      item->streams.at(stream).pending.count(size_bytes / kTagBlockBytes) != 0)
    flush_tags();
  DirectPrograms::truncate(path, stream, size_bytes);
  note_change(path);
  if (item == nullptr || item->streams.count(stream) == 0) return;
  auto& state = item->streams.at(stream);
  if (size_bytes >= state.base_limit) return;
  state.base_limit = size_bytes;
  state.loaded.erase(state.loaded.lower_bound((size_bytes + kTagBlockBytes - 1) / kTagBlockBytes),
                     state.loaded.end());
  state.pending.erase(state.pending.lower_bound(size_bytes / kTagBlockBytes), state.pending.end());
  journal(encode_base_limit(item->id, stream, size_bytes));
  flush_journal();
  // What the base has beyond the limit, for every other block, so that both cases occur.
  const auto& bytes = base_.at(item->base_path).streams.at(stream);
  for (auto at = (size_bytes / kTagBlockBytes + 1) * kTagBlockBytes; at < bytes.size();
       at += 2 * kTagBlockBytes)
    journal(encode_loaded(
        item->id, stream, at / kTagBlockBytes,
        {block_tag(ByteView(bytes).subspan(at, std::min<std::size_t>(kTagBlockBytes, bytes.size() - at)))}));
}

void TestAgent::remove(const std::string& path) {
  populate(path);
  const auto record = desktop_.volume().find(on_volume(path))->record;
  DirectPrograms::remove(path);
  items_.erase(record);
}

void TestAgent::remove_stream(const std::string& path, const std::string& stream) {
  populate_above(path);
  DirectPrograms::remove_stream(path, stream);
  auto* item = find(path);
  if (item == nullptr || item->streams.erase(stream) == 0) return;
  journal(encode_base_limit(item->id, stream, 0));
  flush_journal();
}

void TestAgent::rename(const std::string& from, const std::string& to) {
  populate_above(from);
  populate_above(to);
  DirectPrograms::rename(from, to);
}

void TestAgent::set_metadata(const std::string& path, const profile::Metadata& metadata) {
  populate_above(path);
  const auto there = desktop_.volume().find(on_volume(path)).value();
  if (auto* item = find(path); item != nullptr && there.created_100ns != metadata.created_100ns) {
    journal(encode_identity(item->id, {there.record, 0, metadata.created_100ns}));
    flush_journal();
  }
  DirectPrograms::set_metadata(path, metadata);
}

std::uint32_t TestAgent::attributes(const std::string& path) {
  populate_above(path);
  return DirectPrograms::attributes(path);
}

void TestAgent::restart() {
  unflushed_.clear();
  names_left_ = -1;
  const auto bytes = desktop_.volume().read(kJournal, 0, journal_bytes_);
  const auto provenance = Provenance::parse(bytes).value();
  if (provenance.valid_bytes() != bytes.size()) throw std::runtime_error("the journal is torn");
  items_.clear();
  by_base_.clear();
  std::map<std::uint64_t, std::uint64_t> created;  // by record, of what is there
  const std::function<void(const std::string&)> walk = [&](const std::string& path) {
    const auto there = desktop_.volume().find(path).value();
    created[there.record] = there.created_100ns;
    if (!there.directory) return;
    for (const auto& name : desktop_.volume().list(path)) walk(path + "/" + name);
  };
  walk(kTestRoot);
  walk("ProgramData/Roamstead/staging");
  (void)provenance.for_each([&](const ItemState& state) -> Result<void> {
    by_base_[state.base_path.text()] = state.identity.record;
    next_id_ = state.id + 1;
    const auto there = created.find(state.identity.record);
    const auto latest = provenance.find_by_record(state.identity.record);
    if (latest == nullptr || latest->id != state.id || there == created.end() ||
        there->second != state.identity.created_100ns)
      return {};  // deleted, its record perhaps another file's by now
    auto& item =
        items_[state.identity.record] = {state.id, state.base_path.text(), state.populated, true, {}};
    for (const auto& [name, stream] : state.streams) {
      item.streams[name].base_limit = stream.base_limit;
      for (const auto& [block, tag] : stream.tags) item.streams[name].loaded.insert(block);
    }
    return {};
  });
}

}  // namespace roamstead::extract
