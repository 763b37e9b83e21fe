#include "agent/library/profile_files.h"

namespace roamstead::agent {

using ntfs3g::FileReference;
using ntfs3g::ItemKind;

std::string ProfileFiles::on_volume(const std::string& path) const {
  return os::join_path(session_.config().profile_root, path);
}

Result<void> ProfileFiles::populate(const std::string& directory) {
  std::vector<std::string> all;  // the directory and those above it
  for (auto path = directory; !path.empty(); path = split_path(path).directory) all.push_back(path);
  all.emplace_back();
  for (auto path = all.rbegin(); path != all.rend(); ++path) {
    RS_TRY(auto handle, volume_.open(on_volume(*path), ""));
    RS_CHECK(session_.loader().populate(*handle));
  }
  return {};
}

Result<std::unique_ptr<VolumeHandle>> ProfileFiles::open(const std::string& path, const std::string& stream) {
  RS_CHECK(populate(split_path(path).directory));
  std::shared_lock lock(names_mutex_);
  return volume_.open(on_volume(path), stream);
}

Result<ProfileItem> ProfileFiles::describe(const std::string& name, FileReference reference) {
  ProfileItem item{name, {}, {}};
  RS_TRY(item.info, volume_.library().stat(reference));
  RS_TRY(item.streams, volume_.library().streams(reference));
  return item;
}

Result<std::vector<ProfileItem>> ProfileFiles::list(const std::string& path) {
  RS_CHECK(populate(path));
  std::shared_lock lock(names_mutex_);
  RS_TRY(const auto directory, volume_.library().find(on_volume(path)));
  RS_TRY(const auto names, volume_.library().list(directory));
  std::vector<ProfileItem> items;
  for (auto& name : names) {
    RS_TRY_CTX(auto item, path, describe(name.name, name.reference));
    items.push_back(std::move(item));
  }
  return items;
}

Result<ProfileItem> ProfileFiles::stat(const std::string& path) {
  RS_CHECK(populate(split_path(path).directory));
  std::shared_lock lock(names_mutex_);
  RS_TRY(const auto reference, volume_.library().find(on_volume(path)));
  return describe(split_path(path).name, reference);
}

Result<Bytes> ProfileFiles::read(const std::string& path, const std::string& stream, std::uint64_t offset,
                                 std::size_t length) {
  RS_TRY(auto handle, open(path, stream));
  RS_CHECK_CTX(path, session_.loader().load(*handle, {offset, length}));
  Bytes bytes(length);
  RS_TRY(const auto count, handle->read(offset, bytes));
  bytes.resize(count);
  return bytes;
}

Result<Bytes> ProfileFiles::read_all(const std::string& path, const std::string& stream) {
  RS_TRY(auto handle, open(path, stream));
  RS_TRY(const auto size, handle->size());
  return read(path, stream, 0, static_cast<std::size_t>(size));
}

Result<void> ProfileFiles::change_names(const std::vector<std::string>& paths,
                                        const std::function<Result<void>()>& change) {
  for (auto& path : paths) RS_CHECK(populate(split_path(path).directory));
  Result<void> changed;
  {
    std::unique_lock lock(names_mutex_);
    Gate::Pass pass(session_.loader().gate());
    RS_CHECK(session_.loader().gate().check_program());
    changed = change();
  }
  session_.note_change();
  return changed;
}

Result<void> ProfileFiles::make_file(const std::string& path) {
  return change_names({path}, [&]() -> Result<void> {
    const auto [directory, name] = split_path(on_volume(path));
    RS_TRY(const auto parent, volume_.library().find(directory));
    RS_CHECK(volume_.library().create(parent, name, ItemKind::file));
    return {};
  });
}

Result<void> ProfileFiles::make_directory(const std::string& path) {
  return change_names({path}, [&]() -> Result<void> {
    const auto [directory, name] = split_path(on_volume(path));
    RS_TRY(const auto parent, volume_.library().find(directory));
    RS_CHECK(volume_.library().create(parent, name, ItemKind::directory));
    return {};
  });
}

Result<void> ProfileFiles::write(const std::string& path, const std::string& stream, std::uint64_t offset,
                                 ByteView data) {
  RS_TRY(auto handle, open(path, stream));
  auto written = session_.loader().write(*handle, offset, data);
  session_.note_change();
  if (!written) return fail(std::move(written).error().with(path));
  return {};
}

Result<void> ProfileFiles::truncate(const std::string& path, const std::string& stream,
                                    std::uint64_t size_bytes) {
  RS_TRY(auto handle, open(path, stream));
  auto done = session_.loader().truncate(*handle, size_bytes);
  session_.note_change();
  if (!done) return fail(std::move(done).error().with(path));
  return {};
}

Result<void> ProfileFiles::make_stream(const std::string& path, const std::string& stream) {
  return change_names({path}, [&]() -> Result<void> {
    RS_TRY(const auto file, volume_.library().find(on_volume(path)));
    return volume_.library().make_stream(file, stream);
  });
}

Result<void> ProfileFiles::remove_stream(const std::string& path, const std::string& stream) {
  FileReference file;
  RS_CHECK(change_names({path}, [&]() -> Result<void> {
    RS_TRY(file, volume_.library().find(on_volume(path)));
    return volume_.library().remove_stream(file, stream);
  }));
  return session_.loader().forget_stream(file.record, stream);
}

Result<void> ProfileFiles::change_metadata(const std::string& path,
                                           const std::function<Result<void>(FileReference)>& change) {
  RS_TRY(auto handle, open(path, ""));
  auto changed = session_.loader().change_metadata(
      *handle, [&] { return change(static_cast<LibraryHandle&>(*handle).reference()); });
  session_.note_change();
  if (!changed) return fail(std::move(changed).error().with(path));
  return {};
}

Result<void> ProfileFiles::set_times(const std::string& path, const ItemTimes& times) {
  return change_metadata(path, [&](FileReference item) {
    return volume_.library().set_times(item, times.created_100ns, times.written_100ns);
  });
}

Result<void> ProfileFiles::set_attributes(const std::string& path, std::uint32_t attributes) {
  return change_metadata(
      path, [&](FileReference item) { return volume_.library().set_attributes(item, attributes); });
}

// names_mutex_ is held exclusively, and a pass.
Result<void> ProfileFiles::remove_on_volume(const std::string& path) {
  const auto [directory, name] = split_path(on_volume(path));
  RS_TRY(const auto parent, volume_.library().find(directory));
  RS_TRY(const auto item, volume_.library().find_child(parent, name));
  RS_TRY(const auto info, volume_.library().stat(item));
  RS_CHECK(volume_.library().remove(parent, name));
  if (info.directory || info.links <= 1) session_.loader().forget(item.record);
  return {};
}

Result<void> ProfileFiles::remove(const std::string& path) {
  RS_TRY(const auto item, stat(path));
  // A directory is only known to be empty once everything the version lists is there.
  if (item.info.directory) RS_CHECK(populate(path));
  return change_names({path}, [&] { return remove_on_volume(path); });
}

Result<void> ProfileFiles::rename(const std::string& from, const std::string& to) {
  return change_names({from, to}, [&]() -> Result<void> {
    RS_TRY(const auto source, volume_.stat(on_volume(from)));
    auto target = volume_.stat(on_volume(to));
    if (!target && target.error().code != ErrorCode::not_found) return fail(std::move(target).error());
    if (target && target->record == source.record) return {};
    if (target && target->directory) return fail(ErrorCode::exists, to + " is a directory");
    if (target) RS_CHECK(remove_on_volume(to));
    return volume_.rename(on_volume(from), on_volume(to));
  });
}

// NTFS cannot exchange: three renames, which no program and no snapshot sees half done.
Result<void> ProfileFiles::exchange(const std::string& a, const std::string& b) {
  return change_names({a, b}, [&]() -> Result<void> {
    const auto between = session_.loader().new_staging_path();
    RS_CHECK(volume_.rename(on_volume(a), between));
    RS_CHECK(volume_.rename(on_volume(b), on_volume(a)));
    return volume_.rename(between, on_volume(b));
  });
}

}  // namespace roamstead::agent
