#include "coordinator/config/rules_file.h"

namespace roamstead::config {

// Only what programs make anew by themselves, or what is of no use on another desktop. What is wanted all the
// same is had back by an 'include' further down.
std::string_view default_rules_text() {
  return R"toml(# The rules that ship with Roamstead. They hold where a set of rules says: defaults = true

[[rule]]
exclude = ["%TEMP%", "AppData/LocalLow/Temp"]
reason = "temporary files: of no use once the program that made them has ended"

[[rule]]
exclude = ["%LOCALAPPDATA%/CrashDumps", "%LOCALAPPDATA%/Microsoft/Windows/WER"]
reason = "memory dumps and error reports: large, of one machine, and perhaps with secrets in them"

[[rule]]
exclude = ["%INETCACHE%", "%LOCALAPPDATA%/Microsoft/Windows/{INetCookies/Low,IECompatCache,IECompatUaCache,AppCache}", "%LOCALAPPDATA%/Microsoft/Windows/Temporary Internet Files"]
reason = "Windows' own cache of web pages: fetched again when wanted"

[[rule]]
exclude = ["%LOCALAPPDATA%/Microsoft/Windows/Explorer/{thumbcache,iconcache}_*.db", "%LOCALAPPDATA%/IconCache.db"]
reason = "pictures of files and programs: made again, and locked while Explorer runs"

[[rule]]
exclude = ["%LOCALAPPDATA%/{Google/Chrome,Microsoft/Edge,BraveSoftware/Brave-Browser,Chromium,Vivaldi}/User Data/{ShaderCache,GrShaderCache,GraphiteDawnCache,Crashpad,BrowserMetrics,component_crx_cache,extensions_crx_cache,SwReporter}"]
reason = "what Chromium browsers keep for all their users: shaders, crash reports, downloaded parts"

[[rule]]
exclude = ["%LOCALAPPDATA%/{Google/Chrome,Microsoft/Edge,BraveSoftware/Brave-Browser,Chromium,Vivaldi}/User Data/*/{Cache,Code Cache,GPUCache,DawnCache,DawnGraphiteCache,DawnWebGPUCache,Media Cache}", "%LOCALAPPDATA%/{Google/Chrome,Microsoft/Edge,BraveSoftware/Brave-Browser,Chromium,Vivaldi}/User Data/*/Service Worker/{CacheStorage,ScriptCache}"]
reason = "Chromium browsers' caches: fetched again; bookmarks, history, cookies and extensions are elsewhere"

[[rule]]
exclude = ["%LOCALAPPDATA%/Mozilla/Firefox/Profiles/*/{cache2,startupCache,thumbnails,jumpListCache,shader-cache}"]
reason = "Firefox's caches: its profile itself is in %APPDATA%"

[[rule]]
exclude = ["%APPDATA%/{Code,Slack,discord,Microsoft/Teams}/{Cache,CachedData,Code Cache,GPUCache,logs,Crashpad}", "%APPDATA%/Microsoft/Teams/{tmp,blob_storage}"]
reason = "caches of programs that are web pages in a window: fetched again"

[[rule]]
exclude = ["%LOCALAPPDATA%/Packages/*/{TempState,LocalCache/Local/Microsoft/Windows/INetCache}", "%LOCALAPPDATA%/Packages/*/AC/{INetCache,Temp,INetHistory}"]
reason = "temporary files and web caches of packaged apps; their settings and data are beside them"

[[rule]]
exclude = ["%LOCALAPPDATA%/{D3DSCache,NVIDIA/DXCache,NVIDIA/GLCache,AMD/DxCache,AMD/DxcCache,AMD/GLCache}"]
reason = "shaders compiled for one graphics card and driver"

[[rule]]
exclude = ["%LOCALAPPDATA%/Microsoft/OneDrive/{logs,setup}", "%LOCALAPPDATA%/Microsoft/Office/16.0/OfficeFileCache", "%LOCALAPPDATA%/Microsoft/Office/OTele"]
reason = "OneDrive's and Office's logs, installers and upload cache: of one machine, and rebuilt"

[[rule]]
exclude = ["%LOCALAPPDATA%/{pip/cache,npm-cache,NuGet/v3-cache,Yarn/Cache}"]
reason = "packages that developers' tools have downloaded, and download again"

[[rule]]
exclude = ["%LOCALAPPDATA%/Microsoft/Windows/{Notifications/wpnidm,WebCacheLock.dat,ActionCenterCache,SchCache}"]
reason = "caches and locks of one machine's Windows"

[[rule]]
exclude = ["**/~$*", "**/.~lock.*#"]
reason = "owner files of documents that are open: they say who has them open on this machine, now"

[[rule]]
exclude = ["**/Thumbs.db"]
reason = "thumbnails that Explorer makes again"

[[rule]]
exclude = 'HKCU\Software\Classes\Local Settings\MuiCache'
reason = "names of programs in the machine's language: looked up again"

[[rule]]
exclude = 'HKCU\Software\Microsoft\Windows\CurrentVersion\Explorer\SessionInfo'
reason = "what describes one log-in on one machine"

[[rule]]
exclude-process = ["MsMpEng.exe", "MpCmdRun.exe", "SearchIndexer.exe", "SearchProtocolHost.exe", "SearchFilterHost.exe"]
reason = "virus scanners and the search index read everything, and would load everything"
)toml";
}

}  // namespace roamstead::config
