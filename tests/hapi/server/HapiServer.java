import ca.uhn.fhir.batch2.api.IJobMaintenanceService;
import ca.uhn.fhir.batch2.jobs.config.Batch2JobsConfig;
import ca.uhn.fhir.batch2.jobs.export.BulkDataExportProvider;
import ca.uhn.fhir.batch2.maintenance.JobMaintenanceServiceImpl;
import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.IDaoRegistry;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.config.ThreadPoolFactoryConfig;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.batch2.JpaBatch2Config;
import ca.uhn.fhir.jpa.config.r4.JpaR4Config;
import ca.uhn.fhir.jpa.config.util.HapiEntityManagerFactoryUtil;
import ca.uhn.fhir.jpa.config.util.ResourceCountCacheUtil;
import ca.uhn.fhir.jpa.dao.search.HSearchSortHelperImpl;
import ca.uhn.fhir.jpa.dao.search.IHSearchSortHelper;
import ca.uhn.fhir.jpa.interceptor.UserRequestRetryVersionConflictsInterceptor;
import ca.uhn.fhir.jpa.model.config.PartitionSettings;
import ca.uhn.fhir.jpa.model.config.SubscriptionSettings;
import ca.uhn.fhir.jpa.model.dialect.HapiFhirH2Dialect;
import ca.uhn.fhir.jpa.model.dialect.HapiFhirPostgresDialect;
import ca.uhn.fhir.jpa.provider.DaoRegistryResourceSupportedSvc;
import ca.uhn.fhir.jpa.provider.IJpaSystemProvider;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.provider.ValueSetOperationProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.jpa.subscription.channel.config.SubscriptionChannelConfig;
import ca.uhn.fhir.jpa.util.ResourceCountCache;
import ca.uhn.fhir.narrative2.NullNarrativeGenerator;
import ca.uhn.fhir.rest.api.IResourceSupportedSvc;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import com.zaxxer.hikari.HikariDataSource;
import jakarta.persistence.EntityManagerFactory;
import java.io.IOException;
import java.nio.file.Files;
import java.util.Properties;
import java.util.UUID;
import javax.sql.DataSource;
import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.startup.Tomcat;
import org.slf4j.LoggerFactory;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.context.annotation.Primary;
import org.springframework.orm.jpa.JpaTransactionManager;
import org.springframework.orm.jpa.LocalContainerEntityManagerFactoryBean;

/**
 * A real HAPI FHIR JPA server (R4) for the tests: on loopback, in memory, and gone with its parent process.
 *
 * <p>System properties: {@code port} (0 takes any free one), {@code jdbc.url} (default: a private H2 in memory). Prints
 * {@code HAPI_READY <base url>} once it answers, and exits when its standard input is closed.
 */
@Configuration
@Import({
  JpaR4Config.class,
  ThreadPoolFactoryConfig.class,
  SubscriptionChannelConfig.class,
  JpaBatch2Config.class,
  Batch2JobsConfig.class
})
public class HapiServer {

  private static final int EXPORT_MAINTENANCE_MILLIS = 200;

  public static void main(String[] args) {
    ((Logger) LoggerFactory.getLogger(Logger.ROOT_LOGGER_NAME)).setLevel(Level.WARN);
    try {
      serve();
      System.exit(0);
    } catch (Exception error) {
      // HAPI's own threads would keep a server alive that never came up.
      error.printStackTrace();
      System.exit(1);
    }
  }

  private static void serve() throws Exception {
    var context = new AnnotationConfigApplicationContext(HapiServer.class);
    var tomcat = start(context.getBean(RestfulServer.class));
    var port = tomcat.getConnector().getLocalPort();
    if (port < 0) { // Tomcat only logs it
      throw new IOException("port " + Integer.getInteger("port", 0) + " of 127.0.0.1 cannot be had: is it taken?");
    }
    System.out.println("HAPI_READY http://127.0.0.1:" + port + "/fhir");
    System.out.flush();
    waitForParent();
  }

  private static Tomcat start(RestfulServer server) throws Exception {
    var tomcat = new Tomcat();
    tomcat.setBaseDir(Files.createTempDirectory("hapi-test").toString());
    var connector = new Connector();
    connector.setPort(Integer.getInteger("port", 0));
    connector.setProperty("address", "127.0.0.1");
    // FHIR tokens are system|code, and clients send the bar as it is.
    connector.setProperty("relaxedQueryChars", "|");
    tomcat.setConnector(connector);
    Context root = tomcat.addContext("", null);
    Tomcat.addServlet(root, "fhir", server).setLoadOnStartup(1);
    root.addServletMappingDecoded("/fhir/*", "fhir");
    tomcat.start();
    return tomcat;
  }

  private static void waitForParent() throws IOException {
    while (System.in.read() >= 0) {
      // Nothing is said on this pipe; its end says that the parent is gone.
    }
  }

  private static String jdbcUrl() {
    return System.getProperty("jdbc.url", "jdbc:h2:mem:" + UUID.randomUUID() + ";DB_CLOSE_DELAY=-1");
  }

  @Bean
  public DataSource dataSource() {
    var source = new HikariDataSource();
    source.setJdbcUrl(jdbcUrl());
    source.setMaximumPoolSize(20);
    return source;
  }

  @Bean
  @Primary
  public LocalContainerEntityManagerFactoryBean entityManagerFactory(
      ConfigurableListableBeanFactory factory, FhirContext fhir, JpaStorageSettings settings, DataSource source) {
    var bean = HapiEntityManagerFactoryUtil.newEntityManagerFactory(factory, fhir, settings);
    bean.setPersistenceUnitName("HAPI_PU");
    bean.setDataSource(source);
    var properties = new Properties();
    var dialect = jdbcUrl().startsWith("jdbc:postgresql") ? HapiFhirPostgresDialect.class : HapiFhirH2Dialect.class;
    properties.put("hibernate.dialect", dialect.getName());
    properties.put("hibernate.hbm2ddl.auto", "update");
    properties.put("hibernate.search.enabled", "false");
    properties.put("hibernate.jdbc.batch_size", "50");
    properties.put("hibernate.cache.use_query_cache", "false");
    properties.put("hibernate.cache.use_second_level_cache", "false");
    properties.put("hibernate.cache.use_structured_entries", "false");
    properties.put("hibernate.cache.use_minimal_puts", "false");
    bean.setJpaProperties(properties);
    return bean;
  }

  @Bean
  @Primary
  public JpaTransactionManager transactionManager(EntityManagerFactory factory) {
    return new JpaTransactionManager(factory);
  }

  @Bean
  public JpaStorageSettings storageSettings() {
    var settings = new JpaStorageSettings();
    settings.setJobFastTrackingEnabled(true);
    settings.setReuseCachedSearchResultsForMillis(null);
    // A laboratory system deletes its results whoever refers to them; the tests need to do the same.
    settings.setEnforceReferentialIntegrityOnDelete(false);
    return settings;
  }

  @Bean
  public PartitionSettings partitionSettings() {
    return new PartitionSettings();
  }

  @Bean
  public SubscriptionSettings subscriptionSettings() {
    return new SubscriptionSettings();
  }

  @Bean
  public IHSearchSortHelper searchSortHelper(ISearchParamRegistry registry) {
    return new HSearchSortHelperImpl(registry);
  }

  @Bean
  public IResourceSupportedSvc resourceSupportedSvc(IDaoRegistry registry) {
    return new DaoRegistryResourceSupportedSvc(registry);
  }

  @Bean(name = "myResourceCountsCache")
  public ResourceCountCache resourceCountsCache(IFhirSystemDao<?, ?> dao) {
    return ResourceCountCacheUtil.newResourceCountCache(dao);
  }

  @Bean
  public DatabaseBackedPagingProvider databaseBackedPagingProvider() {
    var provider = new DatabaseBackedPagingProvider();
    provider.setDefaultPageSize(20);
    provider.setMaximumPageSize(1000);
    return provider;
  }

  @Bean
  public RestfulServer restfulServer(
      FhirContext fhir,
      IFhirSystemDao<?, ?> dao,
      JpaStorageSettings settings,
      ISearchParamRegistry registry,
      IValidationSupport support,
      ResourceProviderFactory resources,
      IJpaSystemProvider system,
      BulkDataExportProvider export,
      ValueSetOperationProvider valueSets,
      DatabaseBackedPagingProvider paging,
      IJobMaintenanceService maintenance) {
    // Bulk exports go forward at each maintenance pass only: the default of a minute would make every export take one. Set
    // while the context is being built, for the passes are scheduled when it is complete.
    ((JobMaintenanceServiceImpl) maintenance).setScheduledJobFrequencyMillis(EXPORT_MAINTENANCE_MILLIS);
    fhir.setNarrativeGenerator(new NullNarrativeGenerator());
    var server = new RestfulServer(fhir);
    server.registerProviders(resources.createProviders());
    server.registerProvider(system);
    server.registerProvider(export);
    server.registerProvider(valueSets);
    server.setServerConformanceProvider(
        new JpaCapabilityStatementProvider(server, dao, settings, registry, support));
    server.setPagingProvider(paging);
    server.registerInterceptor(new UserRequestRetryVersionConflictsInterceptor());
    return server;
  }
}
