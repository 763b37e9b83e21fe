#include "coordinator/join/routes.h"

#include <algorithm>

namespace roamstead::join {
namespace {

constexpr const char* kJoinUnit = "domain-join";

std::string component(std::string_view name, const std::string& architecture) {
  return "    <component name=\"" + std::string(name) + "\" processorArchitecture=\"" + architecture +
         "\" publicKeyToken=\"31bf3856ad364e35\" language=\"neutral\" versionScope=\"nonSxS\">\n";
}

void append(Bytes& bytes, std::string_view text) {
  const auto view = as_bytes(text);
  bytes.insert(bytes.end(), view.begin(), view.end());
}

}  // namespace

Result<compose::FileEdit> unattend_join_file(std::string_view machine_name, ByteView blob,
                                             std::string_view architecture) {
  RS_CHECK(check_machine_name(machine_name));
  std::string machine(architecture);
  std::transform(machine.begin(), machine.end(), machine.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (machine != "amd64" && machine != "x86" && machine != "arm64")
    return fail(ErrorCode::unsupported, "no answer file for the architecture \"" + machine + "\"");
  compose::FileEdit file;
  file.path = kUnattendPath;
  file.secret = true;
  file.unit = kJoinUnit;
  // The name is checked to be letters, digits and hyphens, base64 has none of XML's characters.
  append(file.content,
         "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
         "<unattend xmlns=\"urn:schemas-microsoft-com:unattend\">\n"
         "  <settings pass=\"specialize\">\n" +
             component("Microsoft-Windows-Shell-Setup", machine) + "      <ComputerName>" +
             std::string(machine_name) +
             "</ComputerName>\n"
             "    </component>\n");
  if (!blob.empty()) {
    append(file.content, component("Microsoft-Windows-UnattendedJoin", machine) +
                             "      <Identification>\n"
                             "        <Provisioning>\n"
                             "          <AccountData>");
    append(file.content, as_text(account_data_of_data(blob)));
    append(file.content,
           "</AccountData>\n"
           "        </Provisioning>\n"
           "      </Identification>\n"
           "    </component>\n");
  }
  append(file.content, "  </settings>\n  <settings pass=\"oobeSystem\">\n" +
                           component("Microsoft-Windows-Shell-Setup", machine) +
                           "      <OOBE>\n"
                           "        <HideEULAPage>true</HideEULAPage>\n"
                           "        <HideOnlineAccountScreens>true</HideOnlineAccountScreens>\n"
                           "        <HideWirelessSetupInOOBE>true</HideWirelessSetupInOOBE>\n"
                           "        <ProtectYourPC>3</ProtectYourPC>\n"
                           "      </OOBE>\n"
                           "    </component>\n"
                           "  </settings>\n"
                           "</unattend>\n");
  return file;
}

std::string setup_complete_script() {
  return "@echo off\r\n"
         "rem The answer file may hold this machine's password; Setup has ended, and nobody needs it.\r\n"
         "del /f /q \"%SystemRoot%\\Panther\\unattend.xml\"\r\n"
         "exit /b 0\r\n";
}

compose::FileEdit runonce_blob_file(ByteView blob, const std::string& first_boot_folder) {
  const auto bytes = odj_file_of_data(blob);
  compose::FileEdit file;
  file.path = first_boot_folder + kRunonceBlobName;
  file.content = to_bytes(ByteView(bytes));
  file.secret = true;
  file.unit = kJoinUnit;
  return file;
}

std::string runonce_join_script() {
  return "@echo off\r\n"
         "rem Joins the domain with the account that was made for this desktop.\r\n"
         "setlocal\r\n"
         "set blob=%~dp0..\\" +
         std::string(kRunonceBlobName) +
         "\r\n"
         "if not exist \"%blob%\" exit /b 0\r\n"
         "\"%SystemRoot%\\System32\\djoin.exe\" /requestodj /loadfile \"%blob%\" /windowspath "
         "\"%SystemRoot%\" "
         "/localos\r\n"
         "if errorlevel 1 exit /b %errorlevel%\r\n"
         "del /f /q \"%blob%\"\r\n"
         "exit /b " +
         std::to_string(kRestartWanted) + "\r\n";
}

}  // namespace roamstead::join
