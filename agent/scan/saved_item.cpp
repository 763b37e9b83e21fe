#include "agent/scan/saved_item.h"

namespace roamstead::agent {

ntfs::StreamInfo scanned_stream(std::uint64_t record, const std::string& name, std::uint64_t size_bytes,
                                bool stored) {
  ntfs::StreamInfo stream;
  stream.name = name;
  stream.record = record;
  stream.size_bytes = stream.valid_bytes = size_bytes;
  if (stored && size_bytes != 0)
    stream.runs.push_back(
        {0, 0, (size_bytes + extract::kTagBlockBytes - 1) / extract::kTagBlockBytes, false});
  return stream;
}

ntfs::FileRecord SavedItem::to_record() const {
  ntfs::FileRecord file;
  file.reference = {record, sequence};
  file.directory = directory;
  file.attributes = attributes;
  file.created_100ns = created_100ns;
  file.written_100ns = written_100ns;
  file.security_id = security;
  if (reparse) file.reparse_tag = reparse_tag;
  file.reparse_data = reparse_data;
  for (const auto& name : names)
    file.names.push_back({{name.parent, name.parent_sequence}, name.name, ntfs::NameSpace::win32});
  for (const auto& stream : streams)
    file.streams.push_back(scanned_stream(record, stream.name, stream.size_bytes, stream.stored));
  return file;
}

SavedItem SavedItem::from_record(const ntfs::FileRecord& file) {
  SavedItem item;
  item.record = file.reference.record;
  item.sequence = file.reference.sequence;
  item.directory = file.directory;
  item.attributes = file.attributes;
  item.created_100ns = file.created_100ns;
  item.written_100ns = file.written_100ns;
  item.security = file.security_id;
  item.reparse = file.reparse_tag.has_value();
  item.reparse_tag = file.reparse_tag.value_or(0);
  item.reparse_data = file.reparse_data;
  for (const auto& name : file.names)
    item.names.push_back({name.parent.record, name.parent.sequence, name.name});
  for (const auto& stream : file.streams) {
    SavedStream saved;
    saved.name = stream.name;
    saved.size_bytes = stream.size_bytes;
    saved.stored = !stream.runs.empty();
    item.streams.push_back(std::move(saved));
  }
  return item;
}

}  // namespace roamstead::agent
